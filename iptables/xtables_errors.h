// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

// Internal to the xtables backend: what its errors mean to a user.

#include <string_view>

#include "base/error.h"
#include "capture/rule.h"

namespace sluice::iptables {

// The table could not be read: `saved_errno`.
Error InitError(int saved_errno, Family family, capture::Table table);

// It was read, and its form is none that is known.
Error UnknownForm(Family family, std::string_view table);

// The commit of `wanted` failed with `saved_errno`. Asks the kernel what it lacks.
Error CommitError(int saved_errno, Family family, const capture::TableRules& wanted);

}  // namespace sluice::iptables
