// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/xt_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "iptables/libiptc_api.h"
#include "iptables/xt_model.h"
#include "iptables/xtables_errors.h"

namespace sluice::iptables {
namespace {

using namespace capture::explain;
using libiptc::V4;
using libiptc::V6;

template <typename Api>
struct Free {
  void operator()(xtc_handle* handle) const { Api::free(handle); }
};

template <typename Api>
void ReadOne(std::string_view name, bool surely_there, Model& model) {
  const std::unique_ptr<xtc_handle, Free<Api>> handle(Api::init(std::string(name).c_str()));
  if (!handle) {
    const int saved_errno = errno;
    const bool lacks = saved_errno != EPERM && saved_errno != EACCES;
    if (lacks && !surely_there) return;
    for (const capture::Table table : capture::kTables) {
      if (Name(table) == name) throw InitError(saved_errno, Api::kFamily, table);
    }
    throw SystemError(saved_errno, "read the " + std::string(name) + " table",
                      std::string(sluice::Name(Api::kFamily)));
  }
  ModelTable table{.backend = "iptables", .family = Api::kFamily, .name = std::string(name)};
  for (const char* label = Api::first_chain(handle.get()); label != nullptr;
       label = Api::next_chain(handle.get())) {
    ModelChain chain{.name = label};
    chain.ours = capture::IsOwnedChain(chain.name);
    if (Api::builtin(label, handle.get()) != 0) {
      chain.base = BuiltinHook(name, chain.name);
      xt_counters counters;
      const char* const policy = Api::get_policy(label, &counters, handle.get());
      if (chain.base && policy != nullptr) {
        chain.base->policy_drops = std::string_view(policy) == "DROP";
      }
    }
    for (auto* entry = Api::first_rule(label, handle.get()); entry != nullptr;
         entry = Api::next_rule(entry, handle.get())) {
      const auto* bytes = reinterpret_cast<const std::byte*>(entry);
      chain.rules.push_back(DecodeModelRule({bytes, bytes + entry->next_offset},
                                            Api::get_target(entry, handle.get()), Api::kFamily));
    }
    table.chains.push_back(std::move(chain));
  }
  // Built-in chains first, Sluice's chains by name: like a planned Sluice table.
  std::ranges::stable_sort(table.chains, [](const ModelChain& a, const ModelChain& b) {
    if (a.base.has_value() != b.base.has_value()) return a.base.has_value();
    if (a.base) return a.base->hook < b.base->hook;
    return a.name < b.name;
  });
  model.tables.push_back(std::move(table));
}

}  // namespace

void ReadModel(TableNames& names, Model& model) {
  for (const Family family : capture::kFamilies) {
    for (const std::string_view table : {"raw", "mangle", "nat", "filter", "security"}) {
      if (!names.Has(family, table)) continue;
      if (family == Family::kIpv4) {
        ReadOne<V4>(table, names.Knows(family), model);
      } else {
        ReadOne<V6>(table, names.Knows(family), model);
      }
    }
  }
}

}  // namespace sluice::iptables
