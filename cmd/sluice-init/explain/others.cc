// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/explain/others.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "capture/explain/deciders.h"
#include "cmd/sluice-init/explain/explain.h"
#include "cmd/sluice-init/explain/kernel_host.h"
#include "iptables/layout/xt_model.h"
#include "nftables/model/model.h"
#include "nftables/model/reader.h"
#include "trace/event.h"

namespace sluice::init {
namespace {

using capture::explain::Model;
using capture::explain::ModelChain;
using capture::explain::ModelTable;

// Without what cannot decide: tables of ours and of traces, and those that no packet comes to.
Model ReadOthers() {
  Model model;
  nftables::Kernel kernel;
  nftables::AddModel(nftables::ReadRuleset(kernel), iptables::DecodeExtension, model);
  std::erase_if(model.tables, [](const ModelTable& table) {
    return table.name.starts_with(trace::kTableNames) ||
           std::ranges::any_of(table.chains, &ModelChain::ours) ||
           std::ranges::none_of(table.chains,
                                [](const ModelChain& chain) { return chain.base.has_value(); });
  });
  // Rules of an ingress hook are not read, so that nothing can be said of them.
  model.unread.clear();
  Finish(model);
  return model;
}

}  // namespace

bool OthersInNfTables::Any() { return backends_.HasOtherTables(); }

std::vector<capture::Obstruction> OthersInNfTables::DecideFirst(const capture::FamilyRules& wanted,
                                                                const capture::Backend& backend) {
  if (!others_) others_ = ReadOthers();
  if (others_->tables.empty()) return {};
  capture::RuleSet rules;
  (wanted.family == Family::kIpv4 ? rules.v4 : rules.v6) = wanted;
  const Model ours = ModelFor(rules, backend);
  KernelHost host(network_, true);
  return FindDeciders(wanted, ours, *others_, host);
}

}  // namespace sluice::init
