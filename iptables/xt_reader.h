// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/explain/model.h"
#include "iptables/xtables.h"

namespace sluice::iptables {

// Adds all tables of both families in this namespace to `model`, with everybody's rules; creates
// none. A build without x_tables adds their chains as unread. The caller must call
// `capture::explain::Finish`. Throws sluice::Error.
void ReadModel(TableNames& names, capture::explain::Model& model);

}  // namespace sluice::iptables
