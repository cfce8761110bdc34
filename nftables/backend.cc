// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/backend.h"

#include <linux/netfilter.h>

#include <utility>

#include "base/error.h"
#include "capture/state_text.h"
#include "nftables/compile.h"
#include "nftables/text.h"

namespace sluice::nftables {
namespace {

using capture::Step;
using capture::Table;

// Both tables as one step of a transaction.
class TablesStep : public Step {
 public:
  TablesStep(capture::RuleSet wanted, bool force, NftablesBackend& backend)
      : rules_(std::move(wanted)), force_(force), backend_(backend) {
    wanted_.v4 = ToState(rules_.v4);
    wanted_.v6 = ToState(rules_.v6);
  }

  std::string Name() const override { return "nftables"; }
  void Forget() override { backend_.Forget(); }
  bool Differs() override {
    const State& now = backend_.Look();
    return force_ || !Same(now.v4, wanted_.v4) || !Same(now.v6, wanted_.v6);
  }
  std::vector<std::string> Have() override {
    const State& now = backend_.Look();
    return Sections([&](Family family, Table table) {
      return capture::StateLines(ToInstalled(now.family(family), family, table),
                                 capture::Counting::kWithout);
    });
  }
  std::vector<std::string> Want() override {
    return Sections([&](Family family, Table table) {
      const capture::FamilyRules& rules = rules_.family(family);
      return rules.empty() ? std::vector<std::string>() : capture::RuleLines(rules.table(table));
    });
  }
  void Apply() override { before_ = backend_.Replace(wanted_, force_); }
  void Undo() override { backend_.Replace(before_, false); }
  std::string Summary() const override {
    std::size_t chains = 0;
    std::size_t rules = 0;
    for (const Family family : capture::kFamilies) {
      for (const ChainState& chain : wanted_.family(family).chains) {
        ++chains;
        rules += chain.rules.size();
      }
    }
    if (chains == 0) return std::string(kNothing);
    return std::to_string(chains) + " chains, " + std::to_string(rules) + " rules";
  }

 private:
  template <typename LinesOf>
  static std::vector<std::string> Sections(LinesOf lines_of) {
    std::vector<std::string> out;
    for (const Family family : capture::kFamilies) {
      for (const Table table : capture::kTables) {
        const std::vector<std::string> lines = lines_of(family, table);
        if (lines.empty()) continue;
        out.push_back("# " + capture::Describe(family, table));
        out.insert(out.end(), lines.begin(), lines.end());
      }
    }
    return out;
  }

  capture::RuleSet rules_;
  bool force_;
  NftablesBackend& backend_;
  State wanted_;
  State before_;
};

}  // namespace

Kernel& NftablesBackend::kernel() {
  if (!kernel_) kernel_.emplace();
  return *kernel_;
}

const State& NftablesBackend::Look() {
  if (!state_) state_ = kernel().Read();
  return *state_;
}

const State& NftablesBackend::LookAgain() {
  Forget();
  return Look();
}

State NftablesBackend::Replace(const State& wanted, bool anew) {
  for (int attempt = 0; attempt < kCommitAttempts; ++attempt) {
    State before = Look();
    Forget();
    if (kernel().Write(before, wanted, anew)) return before;
  }
  throw Error(ErrorKind::kFailed, {.doing = "write the rules of nf_tables",
                                   .target = {},
                                   .why = "somebody else changes them all the time",
                                   .help = "find out who does, and run again"});
}

capture::RuleSet NftablesBackend::Compile(const capture::RuleSet& rules) const {
  return nftables::Compile(rules);
}

std::string NftablesBackend::Text(const capture::RuleSet& rules) const {
  return NftText(nftables::Compile(rules));
}

std::vector<std::unique_ptr<Step>> NftablesBackend::Plan(const capture::RuleSet& rules,
                                                         const capture::PlanOptions& options,
                                                         std::vector<std::string>& warnings) {
  (void)warnings;  // nothing is left out
  std::vector<std::unique_ptr<Step>> steps;
  const bool anything = !rules.v4.empty() || !rules.v6.empty();
  steps.push_back(
      std::make_unique<TablesStep>(nftables::Compile(rules), options.force && anything, *this));
  return steps;
}

capture::InstalledTable NftablesBackend::Read(Family family, Table table) {
  return ToInstalled(Look().family(family), family, table);
}

std::vector<std::string> NftablesBackend::ForeignCaptures() {
  std::vector<std::string> out;
  const State& now = Look();
  if (now.others.empty()) return out;
  for (const OtherTable& other : now.others) {
    if (other.family == NFPROTO_INET && other.name.starts_with("istio-proxy-")) {
      out.push_back("inet " + other.name);
    }
  }
  for (std::string& chain : kernel().ChainsLikeOurs()) out.push_back(std::move(chain));
  return out;
}

}  // namespace sluice::nftables
