// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/ways.h"

#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace sluice::capture::explain {
namespace {

// Deeper than the kernel follows jumps (NFT_JUMP_STACK_SIZE).
constexpr int kMostJumps = 16;
// What a register holds, as far as samples need it.
enum class Field : std::uint8_t {
  kOther,
  kSource,
  kDestination,
  kPort,
  kSourcePort,
  kProtocol,
  kIn,
  kOut,
  kUid,
  kGid
};

std::uint32_t HostNumber(const ByteString& value) {
  std::uint32_t out = 0;
  std::memcpy(&out, value.data(), std::min(value.size(), sizeof(out)));
  return out;
}

std::uint16_t BigNumber(const ByteString& value) {
  return value.size() < 2 ? std::uint16_t{0}
                          : static_cast<std::uint16_t>(value[0] << 8U | value[1]);
}

// Follows the chains of others to the rules that do something, and notes how one gets there.
class Explorer {
 public:
  explicit Explorer(Family family) : family_(family) {}

  std::vector<Way> Run(const Model& others) {
    for (const ModelTable& table : others.tables) {
      if (table.family != family_) continue;
      for (const ModelChain& chain : table.chains) {
        if (!chain.base || chain.base->hook == HookPoint::kForward) continue;
        const Way way{.hook = chain.base->hook};
        Follow(table, static_cast<std::size_t>(&chain - table.chains.data()), way, 0);
        if (chain.base->policy_drops) Note(way);
      }
    }
    return std::move(ways_);
  }

 private:
  struct Registers {
    std::array<Field, kRegisterBytes> field{};
  };

  void Note(const Way& way) {
    if (ways_.size() < kMostWays) ways_.push_back(way);
  }

  void Follow(const ModelTable& table, std::size_t chain, const Way& way, int depth) {
    if (depth > kMostJumps || chain >= table.chains.size()) return;
    for (const ModelRule& rule : table.chains[chain].rules) {
      if (++visits_ > kMostVisits) return;
      Carry(table, rule, 0, way, Registers(), depth);
    }
  }

  void Do(const ModelTable& table, const Act& act, const Way& way, int depth) {
    const Action& action = act.action;
    if (std::holds_alternative<Jump>(action) || std::holds_alternative<Goto>(action)) {
      return Follow(table, act.leads_to, way, depth + 1);
    }
    // What one rule accepts, a later one or the policy may drop once it is redirected.
    const bool idle =
        std::holds_alternative<GoOn>(action) || std::holds_alternative<Return>(action);
    if (!idle) Note(way);
  }

  // The program from `at` on.
  void Carry(const ModelTable& table, const ModelRule& rule, std::size_t at, Way way,
             Registers registers, int depth) {
    for (; at < rule.program.size(); ++at) {
      const Op& op = rule.program[at];
      if (const auto* act = std::get_if<Act>(&op)) {
        Do(table, *act, way, depth);
      } else if (std::holds_alternative<StoreMark>(op) || std::holds_alternative<NatTo>(op) ||
                 std::holds_alternative<TproxyTo>(op)) {
        Note(way);
      } else if (const auto* lookup = std::get_if<Lookup>(&op)) {
        if (lookup->set >= table.sets.size()) continue;
        const SetModel& set = table.sets[lookup->set];
        if (lookup->verdicts) return Choose(table, set, *lookup, way, registers, depth);
        if (lookup->negated) continue;
        if (lookup->to) Set(registers, *lookup->to, Field::kOther);
        if (set.fields.size() < 2) {
          // Any of them will do.
          for (std::size_t i = 0; i < std::min(set.items.size(), kMostValues); ++i) {
            Take(FieldAt(registers, lookup->from), set.items[i].first, way, i > 0);
          }
          continue;
        }
        for (std::size_t i = 0; i < std::min(set.items.size(), kMostValues); ++i) {
          Way one = way;
          TakeKey(set, set.items[i], *lookup, registers, one);
          if (++visits_ > kMostVisits) return;
          Carry(table, rule, at + 1, std::move(one), registers, depth);
        }
        return;
      } else {
        Constrain(op, way, registers);
      }
    }
  }

  // A verdict map.
  void Choose(const ModelTable& table, const SetModel& set, const Lookup& lookup, const Way& way,
              const Registers& registers, int depth) {
    for (const SetItem& item : set.items) {
      if (++visits_ > kMostVisits) return;
      if (!item.verdict) continue;
      Way one = way;
      TakeKey(set, item, lookup, registers, one);
      Do(table, *item.verdict, one, depth);
    }
    if (set.otherwise && set.otherwise->verdict) {
      Do(table, *set.otherwise->verdict, way, depth);
    }
  }

  void TakeKey(const SetModel& set, const SetItem& item, const Lookup& lookup,
               const Registers& registers, Way& way) const {
    if (set.fields.size() < 2) return Take(FieldAt(registers, lookup.from), item.first, way, false);
    std::size_t at = 0;
    for (const std::uint8_t size : set.fields) {
      if (at + size > item.first.size()) return;
      const auto first = item.first.begin() + static_cast<std::ptrdiff_t>(at);
      Take(FieldAt(registers, {static_cast<std::uint8_t>(lookup.from.at + at), size}),
           ByteString(first, first + size), way, false);
      at += (size + 3U) / 4U * 4U;
    }
  }

  void Constrain(const Op& op, Way& way, Registers& registers) const {
    if (const auto* load = std::get_if<Load>(&op)) {
      Set(registers, load->to, FieldOf(*load));
    } else if (const auto* mask = std::get_if<MaskBits>(&op)) {
      Set(registers, mask->to, FieldAt(registers, mask->from));
    } else if (const auto* swap = std::get_if<SwapBytes>(&op)) {
      Set(registers, swap->to, Field::kOther);
    } else if (const auto* compare = std::get_if<Compare>(&op)) {
      const Field field = FieldAt(registers, compare->from);
      ByteString value = compare->value;
      if (compare->operation == NFT_CMP_EQ || compare->operation == NFT_CMP_GTE ||
          compare->operation == NFT_CMP_LTE) {
        // Both ends of a range, as older versions of nft write it: the lower one is in it.
        Take(field, value, way, compare->operation == NFT_CMP_LTE);
      }
    } else if (const auto* within = std::get_if<Within>(&op)) {
      if (!within->negated) Take(FieldAt(registers, within->from), within->first, way, false);
    } else if (const auto* check = std::get_if<Check>(&op)) {
      TakeTest(check->test, way);
    }
  }

  // What iptables-nft leaves to a match of x_tables.
  static void TakeTest(const Test& test, Way& way) {
    if (const auto* port = std::get_if<PortTest>(&test)) {
      if (port->negated || port->of == PortTest::Of::kSource) return;
      way.ports.clear();
      for (const PortRange& range : port->ranges) AddOnce(way.ports, range.first, kMostValues);
    } else if (const auto* owner = std::get_if<OwnerTest>(&test)) {
      if (!owner->negated) (owner->of_group ? way.gid : way.uid) = owner->first;
    } else if (const auto* protocol = std::get_if<ProtocolTest>(&test)) {
      if (!protocol->negated) TakeProtocol(protocol->protocol, way);
    } else if (const auto* address = std::get_if<AddressTest>(&test)) {
      if (address->negated) return;
      auto& to = address->of_source ? way.from : way.to;
      to.clear();
      for (const Cidr& range : address->ranges) AddOnce(to, range.address(), kMostValues);
    } else if (const auto* interface = std::get_if<InterfaceTest>(&test)) {
      if (interface->negated) return;
      std::string name = interface->pattern;
      if (name.ends_with('+')) name.back() = '0';
      (interface->in ? way.in : way.out) = std::move(name);
    }
  }

  static void TakeProtocol(std::uint8_t number, Way& way) {
    if (number == static_cast<std::uint8_t>(Protocol::kTcp)) way.protocol = Protocol::kTcp;
    if (number == static_cast<std::uint8_t>(Protocol::kUdp)) way.protocol = Protocol::kUdp;
  }

  // `more`: beside what is there.
  void Take(Field field, ByteString value, Way& way, bool more) const {
    if (value.empty()) return;
    switch (field) {
      case Field::kSource:
      case Field::kDestination: {
        std::vector<IpAddress>& addresses = field == Field::kSource ? way.from : way.to;
        if (!more) addresses.clear();
        value.resize(family_ == Family::kIpv4 ? 4 : 16);
        AddOnce(addresses, IpAddress::FromBytes(value), kMostValues);
        return;
      }
      case Field::kPort:
        if (!more) way.ports.clear();
        // The header as a whole begins with the source's.
        AddOnce(way.ports, BigNumber(value), kMostValues);
        return;
      case Field::kSourcePort:
        if (!more) way.source_port = BigNumber(value);
        return;
      case Field::kProtocol:
        if (!more) TakeProtocol(value[0], way);
        return;
      case Field::kIn:
      case Field::kOut: {
        if (more) return;
        // "eth*" compares the beginning only.
        const auto end = std::ranges::find(value, 0);
        std::string name(value.begin(), end);
        if (end == value.end() && value.size() < 16) name += '0';
        (field == Field::kIn ? way.in : way.out) = std::move(name);
        return;
      }
      case Field::kUid:
      case Field::kGid:
        if (!more) (field == Field::kUid ? way.uid : way.gid) = HostNumber(value);
        return;
      case Field::kOther:
        return;
    }
  }

  Field FieldOf(const Load& load) const {
    const bool v4 = family_ == Family::kIpv4;
    switch (load.from) {
      case Load::From::kMeta:
        if (load.key == NFT_META_IIFNAME) return Field::kIn;
        if (load.key == NFT_META_OIFNAME) return Field::kOut;
        if (load.key == NFT_META_SKUID) return Field::kUid;
        if (load.key == NFT_META_SKGID) return Field::kGid;
        if (load.key == NFT_META_L4PROTO) return Field::kProtocol;
        return Field::kOther;
      case Load::From::kNetwork:
        if (load.key == (v4 ? 12U : 8U)) return Field::kSource;
        if (load.key == (v4 ? 16U : 24U)) return Field::kDestination;
        if (load.key == (v4 ? 9U : 6U) && load.to.size == 1) return Field::kProtocol;
        return Field::kOther;
      case Load::From::kTransport:
        if (load.key == 0 && load.to.size == 2) return Field::kSourcePort;
        if (load.key == 2 && load.to.size == 2) return Field::kPort;
        return Field::kOther;
      default:
        return Field::kOther;
    }
  }

  static Field FieldAt(const Registers& registers, const Slot& slot) {
    return slot.at < registers.field.size() ? registers.field[slot.at] : Field::kOther;
  }
  static void Set(Registers& registers, const Slot& slot, Field field) {
    for (std::size_t i = slot.at; i < std::min<std::size_t>(slot.at + slot.size, kRegisterBytes);
         ++i) {
      registers.field[i] = Field::kOther;
    }
    if (slot.at < registers.field.size()) registers.field[slot.at] = field;
  }

  const Family family_;
  std::vector<Way> ways_;
  std::size_t visits_ = 0;
};

}  // namespace

std::vector<Way> FindWays(const Model& others, Family family) {
  return Explorer(family).Run(others);
}

}  // namespace sluice::capture::explain
