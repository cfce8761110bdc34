// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/unit/nftables/evaluate_program.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <stdexcept>

namespace sluice::nftables {
namespace {

enum class Next { kGoOn, kBreak, kAccept, kEnd, kReturn };

class Machine {
 public:
  Machine(const FamilyState& state, Family family, ProgramResult& result, bool listens)
      : state_(state), family_(family), result_(result), listens_(listens) {}

  // True when the packet's path ends here.
  bool Run(const ChainState& base) { return RunChain(base, 0) == Next::kEnd; }

 private:
  Next RunChain(const ChainState& chain, int depth) {
    // NFT_JUMP_STACK_SIZE
    if (depth > 15) throw std::invalid_argument("too many jumps");
    for (const RuleState& rule : chain.rules) {
      Next next = Next::kGoOn;
      for (const Expression& expression : rule.program) {
        jump_.clear();
        next = std::visit(*this, expression);
        if (next != Next::kGoOn || !jump_.empty()) break;
      }
      if (!jump_.empty()) {
        const std::string to = std::exchange(jump_, {});
        const bool goes = goto_;
        const ChainState* const other = FindChain(state_, to);
        if (other == nullptr) throw std::invalid_argument("no chain " + to);
        const Next end = RunChain(*other, depth + 1);
        if (end == Next::kAccept || end == Next::kEnd) return end;
        if (goes) return Next::kReturn;
        continue;
      }
      if (next == Next::kReturn) return next;
      if (next == Next::kAccept || next == Next::kEnd) return next;
    }
    return Next::kReturn;
  }

 public:
  Next operator()(const LoadMeta& load) {
    const capture::Packet& packet = result_.packet;
    switch (load.key) {
      case MetaKey::kMark:
        return Load(Data::Host32(packet.mark.value));
      case MetaKey::kInterfaceIn:
        return LoadName(packet.in_interface);
      case MetaKey::kInterfaceOut:
        return LoadName(packet.out_interface);
      case MetaKey::kUid:
        return packet.uid ? Load(Data::Host32(*packet.uid)) : Next::kBreak;
      case MetaKey::kGid:
        return packet.gid ? Load(Data::Host32(*packet.gid)) : Next::kBreak;
      case MetaKey::kProtocol:
        return Load(Data::U8(static_cast<std::uint8_t>(packet.protocol)));
    }
    return Next::kBreak;
  }
  Next operator()(const LoadCt& load) {
    const capture::Packet& packet = result_.packet;
    if (load.key == CtKey::kMark) return Load(Data::Host32(packet.connmark.value));
    if (load.key != CtKey::kState) return Next::kBreak;
    static const std::map<capture::ConntrackState, std::uint32_t> kBits = {
        {capture::ConntrackState::kInvalid, 1},
        {capture::ConntrackState::kEstablished, 2},
        {capture::ConntrackState::kRelated, 4},
        {capture::ConntrackState::kNew, 8}};
    return Load(Data::Host32(kBits.at(packet.state)));
  }
  Next operator()(const LoadSocket&) {
    return result_.packet.has_taker ? Load(Data::U8(0)) : Next::kBreak;
  }
  Next operator()(const LoadPayload& load) {
    const capture::Packet& packet = result_.packet;
    std::array<std::uint8_t, 40> header{};
    std::size_t size = 4;
    if (load.header == Header::kNetwork) {
      const bool v4 = family_ == Family::kIpv4;
      size = v4 ? 20 : 40;
      std::ranges::copy(packet.source.bytes(), header.begin() + (v4 ? 12 : 8));
      std::ranges::copy(packet.destination.bytes(), header.begin() + (v4 ? 16 : 24));
    } else {
      header[0] = static_cast<std::uint8_t>(packet.source_port >> 8);
      header[1] = static_cast<std::uint8_t>(packet.source_port);
      header[2] = static_cast<std::uint8_t>(packet.destination_port >> 8);
      header[3] = static_cast<std::uint8_t>(packet.destination_port);
    }
    if (std::size_t{load.offset} + load.length > size) {
      throw std::invalid_argument("behind the header");
    }
    return Load(Data(std::span(header).subspan(load.offset, load.length)));
  }
  Next operator()(const LoadConstant& load) { return Load(load.value); }
  Next operator()(const Bitwise& bitwise) {
    for (std::size_t i = 0; i < bitwise.mask.size; ++i) {
      register_.bytes[i] = static_cast<std::uint8_t>((register_.bytes[i] & bitwise.mask.bytes[i]) ^
                                                     bitwise.bits.bytes[i]);
    }
    return Next::kGoOn;
  }
  Next operator()(const Compare& compare) {
    const int order =
        std::memcmp(register_.bytes.data(), compare.value.bytes.data(), compare.value.size);
    bool holds = false;
    switch (compare.comparison) {
      case Comparison::kEqual:
        holds = order == 0;
        break;
      case Comparison::kNotEqual:
        holds = order != 0;
        break;
      case Comparison::kLess:
        holds = order < 0;
        break;
      case Comparison::kLessOrEqual:
        holds = order <= 0;
        break;
      case Comparison::kGreater:
        holds = order > 0;
        break;
      case Comparison::kGreaterOrEqual:
        holds = order >= 0;
        break;
    }
    return holds ? Next::kGoOn : Next::kBreak;
  }
  Next operator()(const NotInRange& range) {
    const auto order = [this](const Data& data) {
      return std::memcmp(register_.bytes.data(), data.bytes.data(), data.size);
    };
    return order(range.first) >= 0 && order(range.last) <= 0 ? Next::kBreak : Next::kGoOn;
  }
  Next operator()(const InSet& set) {
    const auto size = static_cast<std::size_t>(AddressBits(family_) / 8);
    const auto address = IpAddress::FromBytes(std::span(register_.bytes).first(size));
    const bool found = std::ranges::any_of(
        set.ranges, [&address](const Cidr& range) { return range.Contains(address); });
    return found ? Next::kGoOn : Next::kBreak;
  }
  Next operator()(const Count&) { return Next::kGoOn; }
  Next operator()(const StoreMeta& store) {
    if (store.key != MetaKey::kMark) throw std::invalid_argument("cannot be set");
    result_.packet.mark.value = register_.AsHost32();
    return Next::kGoOn;
  }
  Next operator()(const StoreCt& store) {
    if (store.key == CtKey::kMark) {
      result_.packet.connmark.value = register_.AsHost32();
    } else if (result_.zone == 0) {
      result_.zone = register_.AsHost16();
    }
    return Next::kGoOn;
  }
  Next operator()(const RedirectToPort&) {
    result_.verdict = capture::RedirectedTo{register_.AsBigEndian16()};
    return Next::kEnd;
  }
  Next operator()(const TproxyToPort&) {
    if (!listens_) return Next::kBreak;
    tproxied_ = register_.AsBigEndian16();
    return Next::kGoOn;
  }
  Next operator()(const ImmediateVerdict& verdict) {
    switch (verdict.code) {
      case VerdictCode::kAccept:
        if (!tproxied_) return Next::kAccept;
        result_.verdict = capture::TproxiedTo{*tproxied_};
        return Next::kEnd;
      case VerdictCode::kDrop:
        result_.verdict = capture::Dropped{};
        return Next::kEnd;
      case VerdictCode::kReturn:
        return Next::kReturn;
      case VerdictCode::kJump:
      case VerdictCode::kGoto:
        jump_ = verdict.chain;
        goto_ = verdict.code == VerdictCode::kGoto;
        return Next::kGoOn;
    }
    return Next::kBreak;
  }
  Next operator()(const Unknown&) { throw std::invalid_argument("an unknown expression"); }

 private:
  Next Load(const Data& data) {
    register_ = data;
    return Next::kGoOn;
  }
  Next LoadName(const std::string& name) {
    register_ = Data();
    register_.size = 16;
    std::memcpy(register_.bytes.data(), name.data(), std::min<std::size_t>(name.size(), 15));
    return Next::kGoOn;
  }

  const FamilyState& state_;
  Family family_;
  ProgramResult& result_;
  bool listens_;
  Data register_;
  std::string jump_;
  bool goto_ = false;
  std::optional<std::uint16_t> tproxied_;
};

}  // namespace

ProgramResult EvaluatePrograms(const FamilyState& state, Family family, capture::Hook hook,
                               capture::Packet packet, bool listens) {
  ProgramResult result{.packet = std::move(packet)};
  for (const capture::Table table : capture::kTables) {
    // Chains of type nat see only the first packet of a connection.
    if (table == capture::Table::kNat && result.packet.state != capture::ConntrackState::kNew) {
      continue;
    }
    for (const ChainState& chain : state.chains) {
      if (!chain.base || chain.base != BaseOf(table, hook)) continue;
      if (Machine(state, family, result, listens).Run(chain)) return result;
    }
  }
  return result;
}

}  // namespace sluice::nftables
