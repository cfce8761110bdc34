// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/backend.h"

#include <fcntl.h>
#include <linux/netfilter.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "capture/state_text.h"
#include "nftables/program/compile.h"
#include "nftables/text.h"

namespace sluice::nftables {
namespace {

using capture::Step;
using capture::Table;

// The ids that are mapped into this user namespace by `map` (/proc/self/uid_map or gid_map,
// user_namespaces(7)); all ids if it cannot be read.
class MappedIds {
 public:
  explicit MappedIds(const char* map) {
    const UniqueFd file(open(map, O_RDONLY | O_CLOEXEC));
    // The kernel allows 340 lines, each with three numbers of up to ten digits.
    std::array<char, 16384> text;
    const ssize_t size = file ? read(file.get(), text.data(), text.size() - 1) : 0;
    text[static_cast<std::size_t>(std::max<ssize_t>(size, 0))] = '\0';
    const char* at = text.data();
    const auto next = [&at] {
      char* end = nullptr;
      const std::uint64_t number = std::strtoull(at, &end, 10);
      const bool any = end != at;
      at = end;
      return any ? std::optional(number) : std::nullopt;
    };
    while (const auto inside = next()) {
      const auto outside = next();
      const auto count = next();
      if (!outside || !count) break;
      ranges_.emplace_back(*inside, *inside + *count);
    }
  }
  bool Has(std::uint32_t id) const {
    return ranges_.empty() || std::ranges::any_of(ranges_, [id](const auto& range) {
             return range.first <= id && id < range.second;
           });
  }

 private:
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges_;
};

// nf_tables accepts any id, and one that is not mapped here matches nothing. x_tables refuses it.
void CheckIds(const capture::RuleSet& rules) {
  std::set<std::uint32_t> uids, gids;
  for (const capture::FamilyRules* family : {&rules.v4, &rules.v6}) {
    for (const capture::TableRules& table : family->tables) {
      for (const capture::Chain& chain : table.chains) {
        for (const capture::Rule& rule : chain.rules) {
          for (const capture::Match& match : rule.matches) {
            const auto* const owner = std::get_if<capture::OwnerMatch>(&match);
            if (owner != nullptr && owner->uid) uids.insert(owner->uid->value);
            if (owner != nullptr && owner->gid) gids.insert(owner->gid->value);
          }
        }
      }
    }
  }
  const auto check = [](const std::set<std::uint32_t>& ids, const char* map, const char* what) {
    if (ids.empty()) return;
    const MappedIds mapped(map);
    for (const std::uint32_t id : ids) {
      if (mapped.Has(id)) continue;
      throw Error(ErrorKind::kFailed,
                  {.doing = "write the rules of nf_tables",
                   .target = {},
                   .why = what + (" " + std::to_string(id)) +
                          " is not mapped in this user namespace, so that it matches no packet",
                   .help = "map it, or run in the user namespace that owns the network namespace"});
    }
  };
  check(uids, "/proc/self/uid_map", "the user");
  check(gids, "/proc/self/gid_map", "the group");
}

// Both tables (IPv4 and IPv6) as one step of a transaction.
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
  void Apply() override {
    CheckIds(rules_);
    AddComments(rules_.v4, wanted_.v4);
    AddComments(rules_.v6, wanted_.v6);
    before_ = backend_.Replace(wanted_, force_);
  }
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
  if (!state_) {
    state_ = kernel().Read();
    others_ = state_->others;
  }
  return *state_;
}

const State& NftablesBackend::LookAgain() {
  Forget();
  return Look();
}

State NftablesBackend::Replace(const State& wanted, bool anew) {
  for (int attempt = 0; attempt < kCommitAttempts; ++attempt) {
    Look();
    State before = *std::exchange(state_, std::nullopt);
    if (kernel().Write(before, wanted, anew)) return before;
  }
  throw Error(ErrorKind::kFailed, {.doing = "write the rules of nf_tables",
                                   .target = {},
                                   .why = "another program keeps changing them",
                                   .help = "find out which, and run again"});
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

bool NftablesBackend::HasOthers() {
  if (!others_) Look();
  return !others_->empty();
}

std::vector<std::string> NftablesBackend::ForeignCaptures() {
  std::vector<std::string> out;
  if (!others_) Look();
  if (others_->empty()) return out;
  for (const OtherTable& other : *others_) {
    if (other.family == NFPROTO_INET && other.name.starts_with("istio-proxy-")) {
      out.push_back("inet " + other.name);
    }
  }
  for (std::string& chain : kernel().ChainsLikeOurs()) out.push_back(std::move(chain));
  return out;
}

}  // namespace sluice::nftables
