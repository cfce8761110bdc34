// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

// Internal to the xtables backend: translates libiptc's errors.

#include <string>

#include "base/error.h"
#include "capture/rule.h"

namespace sluice::iptables {

// iptc_init failed with `saved_errno`.
Error InitError(int saved_errno, Family family, capture::Table table);

// An edit or commit of `wanted` failed with `saved_errno`. Asks the kernel what it lacks.
Error CommitError(int saved_errno, Family family, const capture::TableRules& wanted);

}  // namespace sluice::iptables
