// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/kernel.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/error.h"
#include "nftables/batch.h"
#include "nftables/codec.h"
#include "nftables/intervals.h"

namespace sluice::nftables {
namespace {

// How often a reader starts over while others write.
constexpr int kReadAttempts = 10;

std::optional<Base> DecodeBase(Bytes chain) {
  const auto hook = FindAttribute(chain, NFTA_CHAIN_HOOK);
  if (!hook) return {};
  Base out{.type = TextOf(chain, NFTA_CHAIN_TYPE)};
  const auto number = [](Bytes in, std::uint16_t type) {
    const auto found = FindAttribute(in, type);
    return found ? found->Big32().value_or(0) : 0;
  };
  out.hook = number(hook->value, NFTA_HOOK_HOOKNUM);
  out.priority = static_cast<std::int32_t>(number(hook->value, NFTA_HOOK_PRIORITY));
  out.policy = number(chain, NFTA_CHAIN_POLICY);
  return out;
}

}  // namespace

std::uint32_t Kernel::Generation() { return socket_.Generation(); }

bool Kernel::DumpAll(int message, std::uint8_t family, const NetlinkSocket::Fill& fill,
                     const std::function<void(std::uint8_t, Bytes)>& visit) {
  return socket_.Dump(message, family, fill, [&visit](const NetfilterMessage& answer) {
    visit(answer.family, answer.attributes);
  });
}

bool Kernel::ReadSet(Family family, InSet& set) {
  // A set of intervals, unless nft(8) made it from single addresses.
  std::optional<std::uint32_t> set_flags;
  socket_.Ask(
      NFT_MSG_GETSET, KernelFamily(family),
      [&set](MessageWriter& request) {
        request.PutText(NFTA_SET_TABLE, kTableName);
        request.PutText(NFTA_SET_NAME, set.name);
      },
      [&set_flags](const Message& message) {
        const auto inside = OfNetfilter(message);
        if (inside) set_flags = NumberOf(inside->attributes, NFTA_SET_FLAGS);
      });
  if (!set_flags) return false;
  std::vector<Element> elements;
  bool all = true;
  const bool consistent = socket_.Dump(
      NFT_MSG_GETSETELEM, KernelFamily(family),
      [&set](MessageWriter& request) {
        request.PutText(NFTA_SET_ELEM_LIST_TABLE, kTableName);
        request.PutText(NFTA_SET_ELEM_LIST_SET, set.name);
      },
      [&](const NetfilterMessage& message) {
        const auto nest = FindAttribute(message.attributes, NFTA_SET_ELEM_LIST_ELEMENTS);
        if (nest) all = DecodeElements(nest->value, family, elements) && all;
      });
  if (!consistent) return false;
  // A set of another type keeps its name, which none of Sluice's sets has.
  if (!all) return true;
  if ((*set_flags & NFT_SET_INTERVAL) != 0) {
    set.ranges = ToRanges(std::move(elements), family);
  } else {
    for (const Element& element : elements) {
      set.ranges.emplace_back(element.address, AddressBits(family));
    }
    set.ranges = Aggregate(std::move(set.ranges));
  }
  set.name.clear();
  return true;
}

bool Kernel::ReadFamily(Family family, FamilyState& out) {
  out.exists = true;
  bool consistent = socket_.Dump(
      NFT_MSG_GETCHAIN, KernelFamily(family), {}, [&](const NetfilterMessage& message) {
        if (TextOf(message.attributes, NFTA_CHAIN_TABLE) != kTableName) return;
        out.chains.push_back({.name = TextOf(message.attributes, NFTA_CHAIN_NAME),
                              .base = DecodeBase(message.attributes)});
      });
  if (!consistent) return false;
  const auto of_table = [](MessageWriter& request) {
    request.PutText(NFTA_RULE_TABLE, kTableName);
  };
  consistent = socket_.Dump(
      NFT_MSG_GETRULE, KernelFamily(family), of_table, [&](const NetfilterMessage& message) {
        if (TextOf(message.attributes, NFTA_RULE_TABLE) != kTableName) return;
        const auto chain = std::ranges::find(
            out.chains, TextOf(message.attributes, NFTA_RULE_CHAIN), &ChainState::name);
        if (chain == out.chains.end()) return;
        const auto expressions = FindAttribute(message.attributes, NFTA_RULE_EXPRESSIONS);
        const Bytes bytes = expressions ? expressions->value : Bytes();
        DecodedRule decoded = DecodeProgram(bytes, family);
        RuleState rule{.program = std::move(decoded.program), .counters = decoded.counters};
        if (std::ranges::any_of(rule.program, [](const Expression& expression) {
              return std::holds_alternative<Unknown>(expression);
            })) {
          rule.expressions.assign(bytes.begin(), bytes.end());
        }
        if (const auto data = FindAttribute(message.attributes, NFTA_RULE_USERDATA)) {
          rule.userdata.assign(data->value.begin(), data->value.end());
        }
        chain->rules.push_back(std::move(rule));
      });
  if (!consistent) return false;
  return ReadSets(family, out);
}

bool Kernel::ReadSets(Family family, FamilyState& out) {
  const auto of_table = [](MessageWriter& request) { request.PutText(NFTA_SET_TABLE, kTableName); };
  std::vector<std::string> named;
  const bool consistent = socket_.Dump(
      NFT_MSG_GETSET, KernelFamily(family), of_table, [&named](const NetfilterMessage& message) {
        if (TextOf(message.attributes, NFTA_SET_TABLE) != kTableName) return;
        const auto flags = FindAttribute(message.attributes, NFTA_SET_FLAGS);
        if (flags && (flags->Big32().value_or(0) & NFT_SET_ANONYMOUS) != 0) return;
        named.push_back(TextOf(message.attributes, NFTA_SET_NAME));
      });
  if (!consistent) return false;
  out.unused_sets = named;
  for (ChainState& chain : out.chains) {
    for (RuleState& rule : chain.rules) {
      for (Expression& expression : rule.program) {
        auto* const set = std::get_if<InSet>(&expression);
        if (set == nullptr) continue;
        const std::string name = set->name;
        if (!ReadSet(family, *set)) return false;
        if (std::ranges::find(named, name) == named.end()) continue;
        chain.sets.push_back(name);
        std::erase(out.unused_sets, name);
      }
    }
  }
  return true;
}

State Kernel::Read() {
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    State out;
    out.generation = Generation();
    bool v4 = false;
    bool v6 = false;
    bool consistent =
        socket_.Dump(NFT_MSG_GETTABLE, NFPROTO_UNSPEC, {}, [&](const NetfilterMessage& message) {
          const std::uint8_t family = message.family;
          const std::string name = TextOf(message.attributes, NFTA_TABLE_NAME);
          if (name == kTableName && family == NFPROTO_IPV4) {
            v4 = true;
          } else if (name == kTableName && family == NFPROTO_IPV6) {
            v6 = true;
          } else {
            out.others.push_back({family, name});
          }
        });
    if (consistent && v4) consistent = ReadFamily(Family::kIpv4, out.v4);
    if (consistent && v6) consistent = ReadFamily(Family::kIpv6, out.v6);
    if (consistent && (!out.any() || Generation() == out.generation)) return out;
  }
  throw Error(ErrorKind::kFailed, {.doing = "read the rules of nf_tables",
                                   .target = {},
                                   .why = "another program keeps changing them",
                                   .help = "find out which, and run again"});
}

std::vector<std::string> Kernel::ChainsLikeOurs() {
  std::vector<std::string> out;
  socket_.Dump(NFT_MSG_GETCHAIN, NFPROTO_UNSPEC, {}, [&out](const NetfilterMessage& message) {
    const std::string table = TextOf(message.attributes, NFTA_CHAIN_TABLE);
    const std::string chain = TextOf(message.attributes, NFTA_CHAIN_NAME);
    const std::uint8_t family = message.family;
    if (!capture::IsOwnedChain(chain) || table == kTableName) return;
    if (family != NFPROTO_IPV4 && family != NFPROTO_IPV6 && family != NFPROTO_INET) return;
    const char* const name = family == NFPROTO_IPV4   ? "ip "
                             : family == NFPROTO_IPV6 ? "ip6 "
                                                      : "inet ";
    out.push_back(name + table + ", chain " + chain);
  });
  return out;
}

bool Kernel::Write(const State& before, const State& wanted, bool anew) {
  Batch batch(before.generation);
  for (const Family family : capture::kFamilies) {
    batch.Add(family, before.family(family), wanted.family(family), anew);
  }
  if (batch.empty()) return true;
  if (!socket_.MakeRoom(batch.Finish().size())) return WriteInParts(before, wanted, anew);
  return socket_.Commit(batch);
}

bool Kernel::WriteInParts(const State& before, const State& wanted, bool anew) {
  std::uint32_t generation = before.generation;
  // A generation is not used twice, so no older set has this name.
  const std::string stage = "ranges_" + std::to_string(generation) + "_";
  std::vector<Batch::StagedSet> sets;
  {
    Batch plan(generation, stage);
    for (const Family family : capture::kFamilies) {
      plan.Add(family, before.family(family), wanted.family(family), anew);
    }
    sets = plan.staged();
  }
  std::set<Family> made_tables;
  std::vector<const Batch::StagedSet*> made;
  const auto commit = [&](Batch& part) {
    part.Finish();
    if (!socket_.Commit(part)) return false;
    // Each transaction increases it by one; 0 is left out.
    if (++generation == 0) ++generation;
    return true;
  };
  const auto write = [&] {
    for (const Batch::StagedSet& set : sets) {
      const SetReference reference{.name = set.name};
      const std::vector<Element> elements = ToElements(set.ranges);
      for (std::size_t i = 0; i < elements.size();) {
        const bool first = i == 0;
        const bool needs_table = first && !before.family(set.family).exists;
        Batch part(generation);
        if (needs_table) part.MakeTable(set.family);
        if (first) part.MakeSet(set.family, reference);
        i = part.FillSet(set.family, reference, elements, i);
        if (!commit(part)) return false;
        if (first) made.push_back(&set);
        if (needs_table) made_tables.insert(set.family);
      }
    }
    Batch last(generation, stage);
    for (const Family family : capture::kFamilies) {
      last.Add(family, before.family(family), wanted.family(family), anew);
    }
    if (!socket_.MakeRoom(last.Finish().size())) {
      throw SystemError(EMSGSIZE, "write the rules of nf_tables");
    }
    return socket_.Commit(last);
  };
  const auto take_back = [&] {
    Batch back(0);
    for (const Batch::StagedSet* const set : made) back.RemoveSet(set->family, set->name);
    for (const Family family : made_tables) back.RemoveTable(family);
    if (back.empty()) return;
    back.Finish();
    // Another program may have removed it. The next run removes what is left.
    try {
      socket_.Commit(back);
    } catch (const Error&) {
    }
  };
  try {
    if (write()) return true;
  } catch (...) {
    take_back();
    throw;
  }
  take_back();
  return false;
}

}  // namespace sluice::nftables
