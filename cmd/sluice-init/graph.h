// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/backend.h"
#include "capture/settings/init_config.h"

namespace sluice::init {

// The command graph: draws the installed rules, or with `planned` those of the configuration, which
// FillFromHost must have completed, to standard output or to `config.graph.file`, once or until a
// signal. Returns what it did, for the report. Throws Error.
std::string Graph(const capture::InitConfig& config, const capture::Backend& backend);

}  // namespace sluice::init
