// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/program.h"

#include <bit>
#include <cstring>
#include <stdexcept>

namespace sluice::nftables {
namespace {

using capture::Condition;
using capture::Mark;
using capture::Rule;
using capture::Table;

constexpr std::size_t kInterfaceBytes = 16;  // IFNAMSIZ

// The offset of an address in its header (RFC 791, RFC 8200).
std::uint8_t AddressOffset(Family family, bool source) {
  if (family == Family::kIpv4) return source ? 12 : 16;
  return source ? 8 : 24;
}
std::uint8_t AddressBytes(Family family) {
  return static_cast<std::uint8_t>(AddressBits(family) / 8);
}

Data PrefixMask(int prefix_length, std::uint8_t size) {
  Data mask;
  mask.size = size;
  for (int i = 0; i < size; ++i) {
    const int kept = std::clamp(prefix_length - i * 8, 0, 8);
    mask.bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(0xff00 >> kept);
  }
  return mask;
}

Comparison Of(bool negated) { return negated ? Comparison::kNotEqual : Comparison::kEqual; }

class Compiler {
 public:
  Compiler(Family family, Table table) : family_(family), table_(table) {}

  Program Take(const Rule& rule) {
    if (rule.source) Address(true, *rule.source);
    if (rule.destination) Address(false, *rule.destination);
    if (rule.list) {
      Add(LoadPayload{Header::kNetwork,
                      AddressOffset(family_, rule.list->of == capture::RangeOf::kSource),
                      AddressBytes(family_)});
      Add(InSet{rule.list->ranges});
    }
    if (rule.in_interface) Interface(MetaKey::kInterfaceIn, *rule.in_interface);
    if (rule.out_interface) Interface(MetaKey::kInterfaceOut, *rule.out_interface);
    if (rule.protocol) {
      Add(LoadMeta{MetaKey::kProtocol});
      Add(Compare{Comparison::kEqual, Data::U8(static_cast<std::uint8_t>(*rule.protocol))});
    }
    for (const capture::Match& match : rule.matches) std::visit(*this, match);
    Add(Count{});
    rule_ = &rule;
    std::visit(*this, rule.target);
    return std::move(program_);
  }

  void operator()(const capture::PortMatch& match) {
    if (match.source) Ports(0, *match.source);
    if (match.destination) Ports(2, *match.destination);
  }
  void operator()(const capture::OwnerMatch& match) {
    if (match.uid) Owner(MetaKey::kUid, *match.uid);
    if (match.gid) Owner(MetaKey::kGid, *match.gid);
  }
  void operator()(const capture::ConntrackStateMatch& match) {
    // NF_CT_STATE_INVALID_BIT, NF_CT_STATE_BIT(IP_CT_ESTABLISHED) and (IP_CT_RELATED)
    const std::uint32_t states =
        (match.invalid ? 1U : 0U) | (match.established ? 2U : 0U) | (match.related ? 4U : 0U);
    Add(LoadCt{CtKey::kState});
    Add(Bitwise{Data::Host32(states), Data::Host32(0)});
    Add(Compare{Comparison::kNotEqual, Data::Host32(0)});
  }
  void operator()(const capture::MarkMatch& match) {
    Add(LoadMeta{MetaKey::kMark});
    MarkIs(match.mark);
  }
  void operator()(const capture::ConnmarkMatch& match) {
    Add(LoadCt{CtKey::kMark});
    MarkIs(match.mark);
  }
  // Always true where there is a socket: nft(8) does not show an expression that nothing compares.
  void operator()(const capture::SocketMatch&) {
    Add(LoadSocket{});
    Add(Compare{Comparison::kLessOrEqual, Data::U8(1)});
  }

  void operator()(const capture::Accept&) { Add(ImmediateVerdict{VerdictCode::kAccept}); }
  void operator()(const capture::Drop&) { Add(ImmediateVerdict{VerdictCode::kDrop}); }
  void operator()(const capture::Return&) { Add(ImmediateVerdict{VerdictCode::kReturn}); }
  void operator()(const capture::Jump& jump) {
    Add(ImmediateVerdict{VerdictCode::kJump, ChainName(table_, jump.chain)});
  }
  void operator()(const capture::Goto& jump) {
    Add(ImmediateVerdict{VerdictCode::kGoto, ChainName(table_, jump.chain)});
  }
  void operator()(const capture::Redirect& redirect) {
    Add(LoadConstant{Data::BigEndian16(redirect.port)});
    Add(RedirectToPort{});
  }
  void operator()(const capture::Tproxy& tproxy) {
    Add(LoadConstant{Data::BigEndian16(tproxy.port)});
    Add(TproxyToPort{});
    SetMeta(tproxy.mark);
    Add(ImmediateVerdict{VerdictCode::kAccept});
  }
  void operator()(const capture::SetMark& set) { SetMeta(set.mark); }
  // Two operands that are not constant need a kernel from 2024. Here the value is known: the rule
  // has tested the mark that it copies.
  void operator()(const capture::SaveConnmark& save) {
    const Mark mark = Tested<capture::MarkMatch>(save.mask);
    if (mark.mask != 0xffffffff) Add(LoadCt{CtKey::kMark});
    SetBits(mark);
    Add(StoreCt{CtKey::kMark});
  }
  void operator()(const capture::RestoreConnmark& restore) {
    SetMeta(Tested<capture::ConnmarkMatch>(restore.mask));
  }
  void operator()(const capture::CtZone& zone) {
    Add(LoadConstant{Data::Host16(zone.zone)});
    Add(StoreCt{CtKey::kZone});
  }

 private:
  void Add(Expression expression) { program_.push_back(std::move(expression)); }

  // -s, -d. Whole bytes of a prefix are compared as they are, as nft(8) does it.
  void Address(bool source, const Condition<Cidr>& condition) {
    const Cidr& range = condition.value;
    const int length = range.prefix_length();
    const bool whole = length % 8 == 0 && length != 0;
    const auto size = whole ? static_cast<std::uint8_t>(length / 8) : AddressBytes(family_);
    Add(LoadPayload{Header::kNetwork, AddressOffset(family_, source), size});
    if (!whole) {
      Data zero;
      zero.size = size;
      Add(Bitwise{PrefixMask(length, size), zero});
    }
    Add(Compare{Of(condition.negated), Data(range.address().bytes().first(size))});
  }
  // An exact name is compared with its NULs, a prefix without.
  void Interface(MetaKey key, const Condition<std::string>& condition) {
    std::string_view name = condition.value;
    Data value;
    if (name.ends_with('+')) {
      name.remove_suffix(1);
      value.size = static_cast<std::uint8_t>(name.size());
    } else {
      value.size = kInterfaceBytes;
    }
    if (name.empty() || name.size() >= kInterfaceBytes) {
      throw std::invalid_argument("the interface " + condition.value + " cannot be compared");
    }
    std::memcpy(value.bytes.data(), name.data(), name.size());
    Add(LoadMeta{key});
    Add(Compare{Of(condition.negated), value});
  }
  void Ports(std::uint8_t offset, const Condition<PortRange>& condition) {
    const Data first = Data::BigEndian16(condition.value.first);
    const Data last = Data::BigEndian16(condition.value.last);
    Add(LoadPayload{Header::kTransport, offset, 2});
    if (first == last) {
      Add(Compare{Of(condition.negated), first});
    } else if (condition.negated) {
      Add(NotInRange{first, last});
    } else {
      Add(Compare{Comparison::kGreaterOrEqual, first});
      Add(Compare{Comparison::kLessOrEqual, last});
    }
  }
  // For a packet without a socket, meta skuid ends the rule, even if it is negated. x_tables does
  // not.
  void Owner(MetaKey key, const Condition<std::uint32_t>& condition) {
    if (condition.negated) throw std::invalid_argument("a negated owner has no program");
    Add(LoadMeta{key});
    Add(Compare{Comparison::kEqual, Data::Host32(condition.value)});
  }
  void MarkIs(const Condition<Mark>& condition) {
    if (condition.value.mask != 0xffffffff) {
      Add(Bitwise{Data::Host32(condition.value.mask), Data::Host32(0)});
    }
    Add(Compare{Of(condition.negated), Data::Host32(condition.value.value)});
  }
  // The loaded value is changed and stored.
  void SetBits(const Mark& mark) {
    if (mark.mask == 0xffffffff) {
      Add(LoadConstant{Data::Host32(mark.value)});
    } else {
      Add(Bitwise{Data::Host32(~mark.mask), Data::Host32(mark.value & mark.mask)});
    }
  }
  void SetMeta(const Mark& mark) {
    if (mark.mask != 0xffffffff) Add(LoadMeta{MetaKey::kMark});
    SetBits(mark);
    Add(StoreMeta{MetaKey::kMark});
  }
  template <typename M>
  Mark Tested(std::uint32_t mask) const {
    if (const auto mark = TestedMark<M>(*rule_, mask)) return *mark;
    throw std::invalid_argument("a mark is copied that the rule has not tested");
  }

  Family family_;
  Table table_;
  const Rule* rule_ = nullptr;
  Program program_;
};

// Reads what Compiler writes. It may accept a little more, so the caller compiles the result
// again and compares.
class Reader {
 public:
  Reader(const Program& program, Family family, Table table)
      : program_(program), family_(family), table_(table) {}

  std::optional<Rule> Take() {
    while (At<Count>() == nullptr) {
      if (!Condition_()) return {};
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

  bool Condition_() {
    if (const auto* payload = Next<LoadPayload>()) {
      return payload->header == Header::kNetwork ? Address(*payload) : Ports(*payload);
    }
    if (const auto* meta = Next<LoadMeta>()) return Meta(meta->key);
    if (const auto* ct = Next<LoadCt>()) return Ct(ct->key);
    if (Next<LoadSocket>() != nullptr) return Socket();
    return false;
  }

  // Any comparison: who calls compiles the result again.
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
  // Setting the mark to the connection's known mark restores it.
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

template <typename T>
T FromBytes(const Data& data) {
  T value;
  std::memcpy(&value, data.bytes.data(), sizeof(value));
  return value;
}

template <typename T>
Data ToBytes(T value) {
  Data data;
  data.size = sizeof(value);
  std::memcpy(data.bytes.data(), &value, sizeof(value));
  return data;
}

}  // namespace

Data Data::U8(std::uint8_t value) { return ToBytes(value); }
Data Data::Host16(std::uint16_t value) { return ToBytes(value); }
Data Data::Host32(std::uint32_t value) { return ToBytes(value); }
Data Data::BigEndian16(std::uint16_t value) {
  const std::array<std::uint8_t, 2> bytes = {static_cast<std::uint8_t>(value >> 8U),
                                             static_cast<std::uint8_t>(value & 0xffU)};
  return Data(bytes);
}
std::uint32_t Data::AsHost32() const { return FromBytes<std::uint32_t>(*this); }
std::uint16_t Data::AsHost16() const { return FromBytes<std::uint16_t>(*this); }
std::uint16_t Data::AsBigEndian16() const {
  return static_cast<std::uint16_t>(bytes[0] << 8U | bytes[1]);
}

std::string ChainName(Table table, std::string_view chain) {
  return std::string(Name(table)) + "/" + std::string(chain);
}

std::optional<std::pair<Table, std::string>> ParseChainName(std::string_view name) {
  for (const Table table : capture::kTables) {
    const std::string_view prefix = Name(table);
    if (name.starts_with(prefix) && name.substr(prefix.size()).starts_with('/')) {
      return std::pair(table, std::string(name.substr(prefix.size() + 1)));
    }
  }
  return {};
}

Program ToProgram(const Rule& rule, Family family, Table table) {
  return Compiler(family, table).Take(rule);
}

std::optional<Rule> ToRule(const Program& program, Family family, Table table) {
  std::optional<Rule> rule = Reader(program, family, table).Take();
  if (!rule) return {};
  try {
    if (ToProgram(*rule, family, table) != program) return {};
  } catch (const std::invalid_argument&) {
    return {};
  }
  return rule;
}

}  // namespace sluice::nftables
