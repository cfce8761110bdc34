// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/rule.h"

#include <algorithm>
#include <stdexcept>

namespace sluice::capture {

std::string_view Name(Table table) {
  switch (table) {
    case Table::kRaw:
      return "raw";
    case Table::kMangle:
      return "mangle";
    case Table::kNat:
      return "nat";
  }
  throw std::invalid_argument("no such table");
}

std::string_view Name(Hook hook) { return hook == Hook::kPrerouting ? "PREROUTING" : "OUTPUT"; }

std::string_view Name(Protocol protocol) { return protocol == Protocol::kTcp ? "tcp" : "udp"; }

bool FamilyRules::empty() const {
  return std::ranges::all_of(tables, [](const TableRules& rules) { return rules.empty(); });
}

const TableRules& FamilyRules::table(Table table) const {
  return *std::ranges::find(tables, table, &TableRules::table);
}

}  // namespace sluice::capture
