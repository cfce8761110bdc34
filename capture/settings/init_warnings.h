// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/settings/init_config.h"
#include "capture/settings/settings.h"

namespace sluice::capture {

// Adds to config.warnings what a legal configuration does not do, although it may seem to.
// `settings` are those that `config` was read from.
void AddWarnings(const Settings& settings, InitConfig& config);

}  // namespace sluice::capture
