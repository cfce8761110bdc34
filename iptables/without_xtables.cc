// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Replaces xtables.cc and xt_reader.cc in a build without x_tables.
#include <string>

#include "capture/explain/model.h"
#include "iptables/xt_reader.h"
#include "iptables/xtables.h"

namespace sluice::iptables {
namespace {

Error NotHere(std::string doing) {
  return Error(ErrorKind::kFailed, {.doing = std::move(doing),
                                    .target = {},
                                    .why = std::string(kNotInThisBuild),
                                    .help = "use a build of sluice-init that has it"});
}

}  // namespace

bool InThisBuild() { return false; }

std::optional<Error> MissingTable(Family family, capture::Table table) {
  return NotHere("look for the " + capture::Describe(family, table));
}

InstalledTable ReadTable(Family family, capture::Table table, TableNames& names) {
  // Without table names it is not known whether there are rules, so this throws.
  if (!names.Has(family, table)) return {};
  throw NotHere("read the " + capture::Describe(family, table));
}

InstalledTable ReplaceTable(Family family, const capture::TableRules& wanted, Keep) {
  throw NotHere("write the " + capture::Describe(family, wanted.table));
}

void RestoreTable(Family family, capture::Table table, const InstalledTable&) {
  throw NotHere("put back the " + capture::Describe(family, table));
}

void ReadModel(TableNames& names, capture::explain::Model& model) {
  bool any = false;
  for (const Family family : capture::kFamilies) {
    for (const std::string_view table : {"raw", "mangle", "nat", "filter", "security"}) {
      if (!names.Has(family, table)) continue;
      any = true;
      for (const std::string_view chain :
           {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}) {
        const auto base = capture::explain::BuiltinHook(table, chain);
        if (!base) continue;
        model.unread.push_back({.backend = "iptables",
                                .family = family,
                                .table = std::string(table),
                                .chain = std::string(chain),
                                .hook = base->hook,
                                .priority = base->priority});
      }
    }
  }
  if (any) {
    model.notes.push_back("rules of iptables are not read: " + std::string(kNotInThisBuild));
  }
}

}  // namespace sluice::iptables
