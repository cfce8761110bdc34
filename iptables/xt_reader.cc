// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/xt_reader.h"

#include <cerrno>
#include <string>
#include <string_view>

#include "iptables/layout/xt_model.h"
#include "iptables/layout/xt_table.h"
#include "iptables/xt_socket.h"
#include "iptables/xtables_errors.h"

namespace sluice::iptables {
namespace {

using namespace capture::explain;

Error ReadError(int saved_errno, Family family, std::string_view name) {
  for (const capture::Table table : capture::kTables) {
    if (Name(table) == name) return InitError(saved_errno, family, table);
  }
  return SystemError(saved_errno, "read the " + std::string(name) + " table",
                     std::string(sluice::Name(family)));
}

void AddTable(Family family, std::string_view name, bool surely_there, Model& model) {
  XtBlob blob;
  if (const int error = XtSocket(family).Read(name, blob); error != 0) {
    const bool lacks = error != EPERM && error != EACCES;
    if (lacks && !surely_there) return;
    throw ReadError(error, family, name);
  }
  const auto table = XtTable::Parse(blob, family);
  if (!table) throw UnknownForm(family, name);
  ModelTable out{.backend = "iptables", .family = family, .name = std::string(name)};
  for (const auto& [key, from] : table->chains()) {
    ModelChain chain{.name = from.name};
    chain.ours = capture::IsOwnedChain(chain.name);
    if (from.hook) {
      chain.base = BuiltinHook(name, chain.name);
      if (chain.base) chain.base->policy_drops = from.policy.target == "DROP";
    }
    for (const XtRule& rule : from.rules) {
      chain.rules.push_back(DecodeModelRule(rule.entry, rule.target, family));
    }
    out.chains.push_back(std::move(chain));
  }
  model.tables.push_back(std::move(out));
}

}  // namespace

void ReadModel(TableNames& names, Model& model) {
  for (const Family family : capture::kFamilies) {
    for (const std::string_view table : {"raw", "mangle", "nat", "filter", "security"}) {
      if (names.Has(family, table)) AddTable(family, table, names.Knows(family), model);
    }
  }
}

}  // namespace sluice::iptables
