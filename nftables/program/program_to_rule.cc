// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <bit>
#include <span>
#include <stdexcept>
#include <utility>

#include "nftables/program/packet_fields.h"
#include "nftables/program/rule_program.h"

namespace sluice::nftables {
namespace {

using capture::Condition;
using capture::Mark;
using capture::Rule;
using capture::Table;

// Reads what ToProgram writes. It may accept a little more, so ToRule turns the result into a
// program again and compares.
class RuleReader {
 public:
  RuleReader(const Program& program, Family family, Table table)
      : program_(program), family_(family), table_(table) {}

  std::optional<Rule> Take() {
    while (At<Count>() == nullptr) {
      if (!ReadCondition()) return {};
    }
    ++next_;
    if (!Target()) return {};
    if (next_ != program_.size()) return {};
    return std::move(rule_);
  }

 private:
  template <typename T>
  const T* At(std::size_t ahead = 0) const {
    return next_ + ahead < program_.size() ? std::get_if<T>(&program_[next_ + ahead]) : nullptr;
  }
  template <typename T>
  const T* Next() {
    const T* const found = At<T>();
    if (found != nullptr) ++next_;
    return found;
  }

  bool ReadCondition() {
    if (const auto* payload = Next<LoadPayload>()) {
      return payload->header == Header::kNetwork ? Address(*payload) : Ports(*payload);
    }
    if (const auto* meta = Next<LoadMeta>()) return Meta(meta->key);
    if (const auto* ct = Next<LoadCt>()) return Ct(ct->key);
    if (Next<LoadSocket>() != nullptr) return Socket();
    return false;
  }

  // Takes any comparison; ToRule finds out whether it was the right one.
  bool Socket() {
    rule_.matches.emplace_back(capture::SocketMatch{});
    return Next<Compare>() != nullptr;
  }

  bool Address(const LoadPayload& load) {
    const bool source = load.offset == AddressOffset(family_, true);
    if (!source && load.offset != AddressOffset(family_, false)) return false;
    if (const auto* set = Next<InSet>()) {
      if (load.length != AddressBytes(family_) || !set->name.empty()) return false;
      if (rule_.list) return false;
      rule_.list = capture::RangeList{
          source ? capture::RangeOf::kSource : capture::RangeOf::kDestination, set->ranges, {}, {}};
      return true;
    }
    int length = load.length * 8;
    if (const auto* mask = Next<Bitwise>()) {
      length = 0;
      for (const std::uint8_t byte : mask->mask.span()) length += std::popcount(byte);
    }
    const auto* compare = Next<Compare>();
    if (compare == nullptr || !IsEquality(*compare) ||
        compare->value.size > AddressBytes(family_)) {
      return false;
    }
    if (length > AddressBits(family_)) return false;
    const auto address =
        IpAddress::FromBytes(std::span(compare->value.bytes).first(AddressBytes(family_)));
    auto& side = source ? rule_.source : rule_.destination;
    if (side) return false;
    side = Condition<Cidr>{Cidr(address, length), IsNegated(*compare)};
    return true;
  }

  bool Ports(const LoadPayload& load) {
    if (load.length != 2 || (load.offset != 0 && load.offset != 2)) return false;
    Condition<PortRange> ports{};
    if (const auto* range = Next<NotInRange>()) {
      if (range->first.size != 2 || range->last.size != 2) return false;
      ports = {{range->first.AsBigEndian16(), range->last.AsBigEndian16()}, true};
    } else if (const auto* compare = Next<Compare>()) {
      if (compare->value.size != 2) return false;
      const std::uint16_t port = compare->value.AsBigEndian16();
      if (IsEquality(*compare)) {
        ports = {PortRange::Single(port), IsNegated(*compare)};
      } else {
        const auto* const last = Next<Compare>();
        if (last == nullptr || last->value.size != 2) return false;
        ports = {{port, last->value.AsBigEndian16()}, false};
      }
    } else {
      return false;
    }
    capture::PortMatch match;
    (load.offset == 0 ? match.source : match.destination) = ports;
    rule_.matches.emplace_back(match);
    return true;
  }

  bool Meta(MetaKey key) {
    const auto* mask = key == MetaKey::kMark ? Next<Bitwise>() : nullptr;
    const auto* const compare = Next<Compare>();
    if (compare == nullptr || !IsEquality(*compare)) return false;
    const Data& value = compare->value;
    switch (key) {
      case MetaKey::kInterfaceIn:
      case MetaKey::kInterfaceOut: {
        std::string name(reinterpret_cast<const char*>(value.bytes.data()), value.size);
        if (value.size == kInterfaceBytes) {
          name.erase(std::min(name.find('\0'), name.size()));
        } else {
          name += '+';
        }
        auto& side = key == MetaKey::kInterfaceIn ? rule_.in_interface : rule_.out_interface;
        if (side) return false;
        side = Condition<std::string>{std::move(name), IsNegated(*compare)};
        return true;
      }
      case MetaKey::kProtocol: {
        if (value.size != 1 || rule_.protocol || IsNegated(*compare)) return false;
        const auto protocol = static_cast<capture::Protocol>(value.bytes[0]);
        if (protocol != capture::Protocol::kTcp && protocol != capture::Protocol::kUdp) {
          return false;
        }
        rule_.protocol = protocol;
        return true;
      }
      case MetaKey::kUid:
      case MetaKey::kGid: {
        if (value.size != 4) return false;
        capture::OwnerMatch match;
        (key == MetaKey::kUid ? match.uid : match.gid) =
            Condition<std::uint32_t>{value.AsHost32(), IsNegated(*compare)};
        rule_.matches.emplace_back(match);
        return true;
      }
      case MetaKey::kMark: {
        const auto mark = MarkOf(mask, *compare);
        if (mark) rule_.matches.emplace_back(capture::MarkMatch{*mark});
        return mark.has_value();
      }
    }
    return false;
  }

  bool Ct(CtKey key) {
    const auto* const mask = Next<Bitwise>();
    const auto* const compare = Next<Compare>();
    if (compare == nullptr || !IsEquality(*compare)) return false;
    if (key == CtKey::kMark) {
      const auto mark = MarkOf(mask, *compare);
      if (mark) rule_.matches.emplace_back(capture::ConnmarkMatch{*mark});
      return mark.has_value();
    }
    if (key != CtKey::kState || mask == nullptr || mask->mask.size != 4) return false;
    const std::uint32_t states = mask->mask.AsHost32();
    if ((states & 7U) == 0) return false;
    rule_.matches.emplace_back(capture::ConntrackStateMatch{.invalid = (states & 1U) != 0,
                                                            .established = (states & 2U) != 0,
                                                            .related = (states & 4U) != 0});
    return true;
  }

  bool Target() {
    if (const auto* verdict = Next<ImmediateVerdict>()) return Of(*verdict);
    if (const auto* constant = Next<LoadConstant>()) return FromConstant(constant->value);
    if (const auto* meta = Next<LoadMeta>()) {
      if (meta->key != MetaKey::kMark) return false;
      const auto* const bits = Next<Bitwise>();
      const auto* const store = Next<StoreMeta>();
      if (bits == nullptr || store == nullptr || store->key != MetaKey::kMark) return false;
      SetMark(MarkOf(*bits));
      return true;
    }
    if (const auto* ct = Next<LoadCt>()) {
      const auto* const bits = Next<Bitwise>();
      const auto* const store = Next<StoreCt>();
      if (ct->key != CtKey::kMark || bits == nullptr || store == nullptr) return false;
      rule_.target = capture::SaveConnmark{MarkOf(*bits).mask};
      return store->key == CtKey::kMark;
    }
    return false;
  }
  bool FromConstant(const Data& value) {
    if (Next<RedirectToPort>() != nullptr) {
      rule_.target = capture::Redirect{value.AsBigEndian16()};
      return value.size == 2;
    }
    if (Next<TproxyToPort>() != nullptr) {
      Mark mark;
      if (Next<LoadMeta>() != nullptr) {
        const auto* const bits = Next<Bitwise>();
        if (bits == nullptr) return false;
        mark = MarkOf(*bits);
      } else if (const auto* constant = Next<LoadConstant>()) {
        mark = {constant->value.AsHost32(), 0xffffffff};
      }
      rule_.target = capture::Tproxy{value.AsBigEndian16(), mark};
      return Next<StoreMeta>() != nullptr && Next<ImmediateVerdict>() != nullptr && value.size == 2;
    }
    if (const auto* ct = Next<StoreCt>()) {
      if (ct->key == CtKey::kZone) {
        rule_.target = capture::CtZone{value.AsHost16()};
        return value.size == 2;
      }
      rule_.target = capture::SaveConnmark{0xffffffff};
      return true;
    }
    if (Next<StoreMeta>() != nullptr) {
      SetMark({value.AsHost32(), 0xffffffff});
      return true;
    }
    return false;
  }
  // To set the mark that the rule has found on the connection is to restore it.
  void SetMark(const Mark& mark) {
    const bool restored = std::ranges::any_of(rule_.matches, [&mark](const capture::Match& match) {
      return match == capture::Match(capture::ConnmarkMatch{capture::Is(mark)});
    });
    if (restored) {
      rule_.target = capture::RestoreConnmark{mark.mask};
    } else {
      rule_.target = capture::SetMark{mark};
    }
  }
  bool Of(const ImmediateVerdict& verdict) {
    switch (verdict.code) {
      case VerdictCode::kAccept:
        rule_.target = capture::Accept{};
        return true;
      case VerdictCode::kDrop:
        rule_.target = capture::Drop{};
        return true;
      case VerdictCode::kReturn:
        rule_.target = capture::Return{};
        return true;
      case VerdictCode::kJump:
      case VerdictCode::kGoto: {
        const auto chain = ParseChainName(verdict.chain);
        if (!chain || chain->first != table_) return false;
        if (verdict.code == VerdictCode::kJump) {
          rule_.target = capture::Jump{chain->second};
        } else {
          rule_.target = capture::Goto{chain->second};
        }
        return true;
      }
    }
    return false;
  }

  static bool IsEquality(const Compare& compare) {
    return compare.comparison == Comparison::kEqual || IsNegated(compare);
  }
  static bool IsNegated(const Compare& compare) {
    return compare.comparison == Comparison::kNotEqual;
  }
  static std::optional<Condition<Mark>> MarkOf(const Bitwise* mask, const Compare& compare) {
    if (compare.value.size != 4) return {};
    const std::uint32_t bits = mask == nullptr ? 0xffffffff : mask->mask.AsHost32();
    return Condition<Mark>{{compare.value.AsHost32(), bits}, IsNegated(compare)};
  }
  static Mark MarkOf(const Bitwise& set) { return {set.bits.AsHost32(), ~set.mask.AsHost32()}; }

  const Program& program_;
  Family family_;
  Table table_;
  std::size_t next_ = 0;
  Rule rule_;
};

}  // namespace

std::optional<Rule> ToRule(const Program& program, Family family, Table table) {
  std::optional<Rule> rule = RuleReader(program, family, table).Take();
  if (!rule) return {};
  try {
    if (ToProgram(*rule, family, table) != program) return {};
  } catch (const std::invalid_argument&) {
    return {};
  }
  return rule;
}

}  // namespace sluice::nftables
