// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/explain/model.h"
#include "iptables/xtables.h"

namespace sluice::iptables {

// Adds all tables that the kernel has in this namespace to `model`, everybody's rules and both
// families; makes none. A build without libiptc adds their chains as unread.
// `capture::explain::Finish` is left to the caller. Throws sluice::Error.
void ReadModel(TableNames& names, capture::explain::Model& model);

}  // namespace sluice::iptables
