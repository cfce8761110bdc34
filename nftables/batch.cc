// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/batch.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <set>
#include <utility>

#include "nftables/comment.h"

namespace sluice::nftables {
namespace {

// A list of elements is one attribute, whose length has 16 bits. An element takes up to 44 bytes.
constexpr std::size_t kMostElementBytes = 60000;

// The kernel modules for a rule's expressions, to name what a kernel was built without.
std::string ModulesOf(const Program& program, Family family) {
  std::set<std::string> names;
  for (const Expression& expression : program) {
    if (std::holds_alternative<RedirectToPort>(expression)) {
      names.insert(family == Family::kIpv4 ? "nft_redir" : "nft_redir (with IPv6)");
    }
    if (std::holds_alternative<TproxyToPort>(expression)) names.insert("nft_tproxy");
    if (std::holds_alternative<LoadSocket>(expression)) names.insert("nft_socket");
    if (std::holds_alternative<LoadCt>(expression) || std::holds_alternative<StoreCt>(expression)) {
      names.insert("nft_ct");
    }
  }
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace

Batch::Batch(std::uint32_t generation, std::string stage) : stage_(std::move(stage)) {
  out_.Begin(NFNL_MSG_BATCH_BEGIN, 0, 0, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
  out_.PutBig32(NFNL_BATCH_GENID, generation);
  out_.End();
}

void Batch::Add(Family family, const FamilyState& have, const FamilyState& want, bool anew) {
  family_ = family;
  if (!want.exists) {
    if (have.exists) RemoveTable(family);
    return;
  }
  if (!have.exists) MakeTable(family);
  const auto kept = [&](const ChainState& chain) {
    const ChainState* const other = FindChain(want, chain.name);
    return other != nullptr && other->base == chain.base;
  };
  const auto unchanged = [&](const ChainState& chain) {
    const ChainState* const other = FindChain(have, chain.name);
    return !anew && other != nullptr && Same(chain, *other);
  };
  // Empty all chains first: a chain with a jump to it cannot be removed.
  for (const ChainState& chain : have.chains) {
    const ChainState* const other = FindChain(want, chain.name);
    if (other != nullptr && unchanged(*other)) continue;
    Begin(NFT_MSG_DELRULE, 0, {"empty the chain ", chain.name, family});
    out_.PutText(NFTA_RULE_TABLE, kTableName);
    out_.PutText(NFTA_RULE_CHAIN, chain.name);
    out_.End();
  }
  for (const ChainState& chain : have.chains) {
    if (kept(chain)) continue;
    Begin(NFT_MSG_DELCHAIN, 0, {"remove the chain ", chain.name, family});
    out_.PutText(NFTA_CHAIN_TABLE, kTableName);
    out_.PutText(NFTA_CHAIN_NAME, chain.name);
    out_.End();
  }
  std::set<std::string_view> old_sets(have.unused_sets.begin(), have.unused_sets.end());
  std::set<std::string_view> used_sets;
  for (const ChainState& chain : have.chains) {
    const ChainState* const other = FindChain(want, chain.name);
    const bool stays = other != nullptr && unchanged(*other);
    (stays ? used_sets : old_sets).insert(chain.sets.begin(), chain.sets.end());
  }
  for (const std::string_view name : old_sets) {
    if (!used_sets.contains(name)) RemoveSet(family, name);
  }
  for (const ChainState& chain : want.chains) {
    const ChainState* const other = FindChain(have, chain.name);
    if (other == nullptr || !kept(*other)) MakeChain(chain);
  }
  for (const ChainState& chain : want.chains) {
    if (unchanged(chain)) continue;
    for (const RuleState& rule : chain.rules) AddRule(chain, rule);
  }
}

void Batch::MakeTable(Family family) {
  Begin(NFT_MSG_NEWTABLE, NLM_F_CREATE, {"make the table", {}, family});
  out_.PutText(NFTA_TABLE_NAME, kTableName);
  out_.End();
}

void Batch::RemoveTable(Family family) {
  Begin(NFT_MSG_DELTABLE, 0, {"remove the table", {}, family});
  out_.PutText(NFTA_TABLE_NAME, kTableName);
  out_.End();
}

void Batch::RemoveSet(Family family, std::string_view name) {
  Begin(NFT_MSG_DELSET, 0, {"remove the set ", name, family});
  out_.PutText(NFTA_SET_TABLE, kTableName);
  out_.PutText(NFTA_SET_NAME, name);
  out_.End();
}

void Batch::MakeSet(Family family, const SetReference& set) {
  // Types of nft(8), so that it prints addresses: TYPE_IPADDR and TYPE_IP6ADDR.
  constexpr std::uint32_t kAddressType[] = {7, 8};
  const bool v4 = family == Family::kIpv4;
  const std::uint32_t anonymous = set.name == kAnonymousSet ? NFT_SET_ANONYMOUS : 0;
  Begin(NFT_MSG_NEWSET, NLM_F_CREATE, {"make a set", {}, family});
  out_.PutText(NFTA_SET_TABLE, kTableName);
  out_.PutText(NFTA_SET_NAME, set.name);
  out_.PutBig32(NFTA_SET_FLAGS, anonymous | NFT_SET_CONSTANT | NFT_SET_INTERVAL);
  out_.PutBig32(NFTA_SET_KEY_TYPE, v4 ? kAddressType[0] : kAddressType[1]);
  out_.PutBig32(NFTA_SET_KEY_LEN, v4 ? 4 : 16);
  // Without a size: with one, the kernel looks for both ends of the set at each new element.
  // The kernel requires an id in any case.
  out_.PutBig32(NFTA_SET_ID, set.id != 0 ? set.id : 1);
  out_.End();
}

std::size_t Batch::FillSet(Family family, const SetReference& set,
                           const std::vector<Element>& elements, std::size_t from) {
  Begin(NFT_MSG_NEWSETELEM, NLM_F_CREATE, {"fill a set", {}, family});
  out_.PutText(NFTA_SET_ELEM_LIST_TABLE, kTableName);
  out_.PutText(NFTA_SET_ELEM_LIST_SET, set.name);
  if (set.id != 0) out_.PutBig32(NFTA_SET_ELEM_LIST_SET_ID, set.id);
  const std::size_t nest = out_.Open(NFTA_SET_ELEM_LIST_ELEMENTS);
  while (from < elements.size() &&
         (out_.SizeOf(nest) < kMostElementBytes || elements[from].is_end)) {
    EncodeElement(elements[from++], out_);
  }
  out_.Close(nest);
  out_.End();
  return from;
}

Batch::Doing Batch::doing(std::uint32_t sequence) const {
  if (sequence == 0 || sequence > begun_.size()) return {"write the rules", {}};
  const Begun& begun = begun_[sequence - 1];
  Doing out{begun.what + std::string(begun.name) + " of nf_tables (" +
                std::string(Name(begun.family)) + ")",
            begun.needs};
  if (begun.program != nullptr) out.needs = ModulesOf(*begun.program, begun.family);
  return out;
}

const std::string& Batch::Finish() {
  out_.Acknowledge();
  out_.Begin(NFNL_MSG_BATCH_END, 0, last() + 1, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
  out_.End();
  return out_.bytes();
}

void Batch::Begin(int message, int flags, const Begun& begun) {
  begun_.push_back(begun);
  out_.Begin(MessageType(message), static_cast<std::uint16_t>(flags), last(),
             KernelFamily(begun.family));
}

void Batch::MakeChain(const ChainState& chain) {
  const bool nat = chain.base && chain.base->type == "nat";
  Begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE,
        {"make the chain ", chain.name, family_, nat ? "nft_chain_nat" : ""});
  out_.PutText(NFTA_CHAIN_TABLE, kTableName);
  out_.PutText(NFTA_CHAIN_NAME, chain.name);
  if (chain.base) {
    const std::size_t hook = out_.Open(NFTA_CHAIN_HOOK);
    out_.PutBig32(NFTA_HOOK_HOOKNUM, chain.base->hook);
    out_.PutBig32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(chain.base->priority));
    out_.Close(hook);
    out_.PutBig32(NFTA_CHAIN_POLICY, chain.base->policy);
    out_.PutText(NFTA_CHAIN_TYPE, chain.base->type);
  }
  out_.End();
}

void Batch::AddRule(const ChainState& chain, const RuleState& rule) {
  std::vector<SetReference> sets;
  if (rule.known()) {
    for (const Expression& expression : rule.program) {
      if (const auto* set = std::get_if<InSet>(&expression)) sets.push_back(Prepare(*set));
    }
  }
  Begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND,
        {"add a rule to the chain ", chain.name, family_, "", &rule.program});
  out_.PutText(NFTA_RULE_TABLE, kTableName);
  out_.PutText(NFTA_RULE_CHAIN, chain.name);
  if (rule.known()) {
    EncodeProgram(
        rule.program, family_, rule.counters,
        [next = sets.begin()](const InSet&) mutable { return *next++; }, out_);
  } else {
    const std::size_t nest = out_.Open(NFTA_RULE_EXPRESSIONS);
    Bytes bytes(rule.expressions);
    while (const auto attribute = TakeAttribute(bytes)) out_.Put(attribute->type, attribute->value);
    out_.Close(nest);
  }
  if (!rule.comment.empty()) {
    out_.Put(NFTA_RULE_USERDATA, EncodeComment(rule.comment));
  } else if (!rule.userdata.empty()) {
    out_.Put(NFTA_RULE_USERDATA, rule.userdata);
  }
  out_.End();
}

SetReference Batch::Prepare(const InSet& set) {
  ++sets_;
  if (!stage_.empty()) {
    staged_.push_back({family_, stage_ + std::to_string(sets_), set.ranges});
    return {.name = staged_.back().name};
  }
  const SetReference reference{.id = sets_};
  const std::vector<Element> elements = ToElements(set.ranges);
  MakeSet(family_, reference);
  constexpr std::size_t kElementBytes = 24;  // at most, of IPv4
  out_.Reserve(elements.size() * kElementBytes);
  for (std::size_t i = 0; i < elements.size();) i = FillSet(family_, reference, elements, i);
  return reference;
}

}  // namespace sluice::nftables
