// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <cstring>
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

// Writes the program of one rule.
class ProgramWriter {
 public:
  ProgramWriter(Family family, Table table) : family_(family), table_(table) {}

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
  // To combine two registers needs a kernel from 2024. Here one operand is a constant: the rule has
  // tested the mark that it copies.
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

  // -s, -d. A prefix of whole bytes is compared without a mask, as nft(8) does it.
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
  // Puts the new value into the register; with a mask, the old one has been loaded.
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

}  // namespace

Program ToProgram(const Rule& rule, Family family, Table table) {
  return ProgramWriter(family, table).Take(rule);
}

}  // namespace sluice::nftables
