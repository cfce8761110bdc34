// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/machine.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace sluice::capture::explain {
namespace {

using Kind = RouteAnswer::Kind;

Bits Whole(ByteString value) {
  ByteString known(value.size(), 0xff);
  return {std::move(value), std::move(known)};
}

template <typename T>
ByteString HostBytes(T value) {
  ByteString out(sizeof(value));
  std::memcpy(out.data(), &value, sizeof(value));
  return out;
}

// The smallest and largest possible values, as memcmp orders them.
ByteString Least(const Bits& bits) {
  ByteString out = bits.value;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] &= bits.known[i];
  return out;
}
ByteString Greatest(const Bits& bits) {
  ByteString out = bits.value;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<std::uint8_t>(out[i] | (~bits.known[i] & 0xff));
  }
  return out;
}

bool CanBe(const Bits& bits, const ByteString& value) {
  for (std::size_t i = 0; i < std::min(value.size(), bits.value.size()); ++i) {
    if (((bits.value[i] ^ value[i]) & bits.known[i]) != 0) return false;
  }
  return true;
}

Meets Equal(const Bits& bits, const ByteString& value) {
  if (value.size() > bits.value.size()) return Meets::kUnknown;
  if (!CanBe(bits, value)) return Meets::kNo;
  return bits.whole() ? Meets::kYes : Meets::kUnknown;
}

Meets Between(const Bits& bits, const ByteString& first, const ByteString& last) {
  const ByteString least = Least(bits), greatest = Greatest(bits);
  if (greatest < first || least > last) return Meets::kNo;
  return least >= first && greatest <= last ? Meets::kYes : Meets::kUnknown;
}

Bits Part(const Bits& bits, std::size_t at, std::size_t size) {
  const auto part = [&](const ByteString& from) {
    const auto begin = from.begin() + static_cast<std::ptrdiff_t>(std::min(at, from.size()));
    const auto end = from.begin() + static_cast<std::ptrdiff_t>(std::min(at + size, from.size()));
    return ByteString(begin, end);
  };
  return {part(bits.value), part(bits.known)};
}

Meets Meet(const Bits& key, const SetItem& item, const std::vector<std::uint8_t>& fields) {
  if (item.first.size() != key.value.size() || item.last.size() != key.value.size()) {
    return Meets::kUnknown;
  }
  if (item.first == item.last) return Equal(key, item.first);
  if (fields.empty()) return Between(key, item.first, item.last);
  Meets all = Meets::kYes;
  std::size_t at = 0;
  for (const std::uint8_t size : fields) {
    const auto of = [&](const ByteString& bytes) {
      const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(std::min(at, bytes.size()));
      const auto end =
          bytes.begin() + static_cast<std::ptrdiff_t>(std::min(at + size, bytes.size()));
      return ByteString(begin, end);
    };
    const Meets one = Between(Part(key, at, size), of(item.first), of(item.last));
    if (one == Meets::kNo) return one;
    if (one == Meets::kUnknown) all = one;
    at += (static_cast<std::size_t>(size) + 3) & ~std::size_t{3};
  }
  return all;
}

}  // namespace

bool Bits::whole() const {
  return std::ranges::all_of(known, [](std::uint8_t byte) { return byte == 0xff; });
}
std::uint32_t Bits::AsHost32() const {
  std::uint32_t out = 0;
  std::memcpy(&out, value.data(), std::min(value.size(), sizeof(out)));
  return out;
}
std::uint32_t Bits::KnownAsHost32() const {
  std::uint32_t out = 0;
  std::memcpy(&out, known.data(), std::min(known.size(), sizeof(out)));
  return out;
}

Bits Machine::Get(const Slot& slot) const {
  Bits out;
  for (std::size_t i = slot.at; i < std::min<std::size_t>(slot.at + slot.size, kRegisterBytes);
       ++i) {
    out.value.push_back(value_[i]);
    out.known.push_back(known_[i]);
  }
  return out;
}

// Pads the last word with zeros, as nft_reg_store8() and the like do.
void Machine::Put(const Slot& slot, const Bits& bits) {
  const std::size_t words = (static_cast<std::size_t>(slot.size) + 3) & ~std::size_t{3};
  for (std::size_t i = 0; i < words && slot.at + i < kRegisterBytes; ++i) {
    const bool there = i < bits.value.size();
    value_[slot.at + i] = there ? bits.value[i] : std::uint8_t{0};
    known_[slot.at + i] = there ? bits.known[i] : std::uint8_t{0xff};
  }
}

void Machine::PutNumber(const Slot& slot, std::uint32_t value, std::uint32_t known) {
  Put(slot, {HostBytes(value), HostBytes(known)});
}

Meets Machine::Run(const Op& op) {
  if (const auto* load = std::get_if<Load>(&op)) return Do(*load);
  if (const auto* mask = std::get_if<MaskBits>(&op)) return Do(*mask);
  if (const auto* swap = std::get_if<SwapBytes>(&op)) return Do(*swap);
  if (const auto* compare = std::get_if<Compare>(&op)) return Do(*compare);
  if (const auto* within = std::get_if<Within>(&op)) return Do(*within);
  if (const auto* lookup = std::get_if<Lookup>(&op)) return Do(*lookup);
  if (const auto* check = std::get_if<Check>(&op)) {
    return MeetsAll(ModelRule{.tests = {check->test}}, packet_, host_);
  }
  return Meets::kYes;
}

Meets Machine::Do(const Load& load) {
  switch (load.from) {
    case Load::From::kConstant:
      Put(load.to, Whole(load.value));
      return Meets::kYes;
    case Load::From::kMeta:
      return LoadMeta(load);
    case Load::From::kCt:
      return LoadCt(load);
    case Load::From::kNetwork:
      return LoadHeader(load, NetworkHeader());
    case Load::From::kTransport:
      return LoadHeader(load, TransportHeader());
    case Load::From::kFibType: {
      const IpAddress& address = load.key == 1 ? packet_.source : packet_.destination;
      std::optional<std::uint32_t> type;
      switch (address.IsUnspecified() ? Kind::kUnknown : host_.Route({.to = address}).kind) {
        case Kind::kLocal:
          type = RTN_LOCAL;
          break;
        case Kind::kForward:
          type = RTN_UNICAST;
          break;
        case Kind::kBroadcast:
          if (address.IsMulticast()) {
            type = RTN_MULTICAST;
          } else if (address.is_v4()) {
            type = RTN_BROADCAST;
          }
          break;
        case Kind::kNone:
          // inet_addr_type() consults only the local table.
          if (address.is_v4()) type = RTN_UNICAST;
          break;
        default:
          break;
      }
      PutNumber(load.to, type.value_or(0), type ? 0xffffffff : 0);
      return Meets::kYes;
    }
    case Load::From::kSocket:
      // One of 0 and 1.
      Put(load.to, {{0}, {0xfe}});
      return HasTaker(packet_, host_);
    case Load::From::kUnknown:
      break;
  }
  Put(load.to, {ByteString(load.to.size, 0), ByteString(load.to.size, 0)});
  return Meets::kUnknown;
}

Meets Machine::LoadMeta(const Load& load) {
  const Slot& to = load.to;
  const auto name = [&](const std::string& text) {
    ByteString bytes(16, 0);
    std::copy_n(text.begin(), std::min<std::size_t>(text.size(), 15), bytes.begin());
    Put(to, Whole(std::move(bytes)));
    return Meets::kYes;
  };
  const auto index = [&](const std::string& device) {
    const std::optional<int> found =
        device.empty() ? std::optional(0) : host_.InterfaceIndex(device);
    PutNumber(to, static_cast<std::uint32_t>(found.value_or(0)), found ? 0xffffffff : 0);
    return Meets::kYes;
  };
  const auto owner = [&](const std::optional<std::uint32_t>& id) {
    if (!packet_.has_socket) return Meets::kNo;
    PutNumber(to, id.value_or(0), id ? 0xffffffff : 0);
    return Meets::kYes;
  };
  const bool v4 = packet_.destination.is_v4();
  switch (load.key) {
    case NFT_META_MARK:
      PutNumber(to, packet_.mark, packet_.mark_known);
      return Meets::kYes;
    case NFT_META_IIFNAME:
      return name(packet_.in_interface);
    case NFT_META_OIFNAME:
      return name(packet_.out_interface);
    case NFT_META_IIF:
      return index(packet_.in_interface);
    case NFT_META_OIF:
      return index(packet_.out_interface);
    case NFT_META_SKUID:
      return owner(packet_.uid);
    case NFT_META_SKGID:
      return owner(packet_.gid);
    case NFT_META_PROTOCOL:
      Put(to, Whole(v4 ? ByteString{0x08, 0x00} : ByteString{0x86, 0xdd}));
      return Meets::kYes;
    case NFT_META_NFPROTO:
      Put(to, Whole({static_cast<std::uint8_t>(v4 ? 2 : 10)}));
      return Meets::kYes;
    case NFT_META_L4PROTO:
      Put(to, Whole({static_cast<std::uint8_t>(packet_.protocol)}));
      return Meets::kYes;
    default:
      Put(to, {ByteString(to.size, 0), ByteString(to.size, 0)});
      return Meets::kUnknown;
  }
}

// nft_ct_get_eval(): without a connection only the state is known.
Meets Machine::LoadCt(const Load& load) {
  const bool none = !packet_.tracked || packet_.untracked || packet_.state == kStateInvalid;
  if (conntrack_unsure_) {
    Put(load.to, {ByteString(load.to.size, 0), ByteString(load.to.size, 0)});
    return Meets::kUnknown;
  }
  if (load.key == NFT_CT_STATE) {
    // NF_CT_STATE_BIT() and the others of linux/netfilter/nf_conntrack_common.h
    std::uint32_t bits = 1;
    if (packet_.untracked) {
      bits = 64;
    } else if (!none) {
      bits = packet_.state == kStateNew ? 8U : packet_.state == kStateRelated ? 4U : 2U;
    }
    PutNumber(load.to, bits);
    return Meets::kYes;
  }
  if (none) return Meets::kNo;
  const bool fresh = packet_.state == kStateNew;
  if (load.key == NFT_CT_DIRECTION) {
    Put(load.to, {{0}, {static_cast<std::uint8_t>(fresh ? 0xff : 0)}});
    return Meets::kYes;
  }
  if (load.key == NFT_CT_MARK) {
    PutNumber(load.to, packet_.connmark, packet_.connmark_known ? packet_.connmark_bits : 0);
    return Meets::kYes;
  }
  if (load.key == NFT_CT_STATUS) {
    // IPS_EXPECTED, SEEN_REPLY, ASSURED are not set on a new one; IPS_DST_NAT if we saw a DNAT.
    std::uint32_t known = fresh ? 0x27U : 0;
    if (fresh && !packet_.changed_source) known |= 0x10;
    PutNumber(load.to, packet_.changed_destination ? 0x20 : 0, known);
    return Meets::kYes;
  }
  Put(load.to, {ByteString(load.to.size, 0), ByteString(load.to.size, 0)});
  return Meets::kUnknown;
}

Bits Machine::NetworkHeader() const {
  const bool v4 = packet_.destination.is_v4();
  Bits out;
  out.value.assign(v4 ? 20 : 40, 0);
  out.known.assign(out.value.size(), 0);
  const auto put = [&out](std::size_t at, std::uint8_t value, std::uint8_t known = 0xff) {
    out.value[at] = value;
    out.known[at] = known;
  };
  const auto address = [&](std::size_t at, const IpAddress& ip) {
    if (ip.IsUnspecified()) return;  // not known
    for (const std::uint8_t byte : ip.bytes()) put(at++, byte);
  };
  if (v4) {
    put(0, 0x45);
    // Not a fragment; whether it will be fragmented is not modelled.
    put(6, 0, 0x3f);
    put(7, 0);
    put(9, static_cast<std::uint8_t>(packet_.protocol));
    address(12, packet_.source);
    address(16, packet_.destination);
  } else {
    put(0, 0x60, 0xf0);
    put(6, static_cast<std::uint8_t>(packet_.protocol));
    address(8, packet_.source);
    address(24, packet_.destination);
  }
  return out;
}

Bits Machine::TransportHeader() const {
  const bool tcp = packet_.protocol == Protocol::kTcp;
  Bits out;
  out.value.assign(tcp ? 20 : 8, 0);
  out.known.assign(out.value.size(), 0);
  const auto port = [&out](std::size_t at, std::uint16_t number) {
    out.value[at] = static_cast<std::uint8_t>(number >> 8U);
    out.value[at + 1] = static_cast<std::uint8_t>(number & 0xffU);
    out.known[at] = out.known[at + 1] = 0xff;
  };
  port(2, packet_.destination_port);
  if (packet_.source_port_known) {
    port(0, packet_.source_port);
  } else {
    // One of 32768 to 60999 (ip_local_port_range).
    out.value[0] = out.known[0] = 0x80;
  }
  if (tcp && packet_.state == kStateNew) {
    // The first packet: SYN, with or without the ECN flags of RFC 3168.
    out.value[13] = 0x02;
    out.known[13] = 0x3f;
  }
  return out;
}

Meets Machine::LoadHeader(const Load& load, const Bits& header) {
  Bits out;
  for (std::size_t i = load.key; i < static_cast<std::size_t>(load.key) + load.to.size; ++i) {
    const bool there = i < header.value.size();
    out.value.push_back(there ? header.value[i] : std::uint8_t{0});
    out.known.push_back(there ? header.known[i] : std::uint8_t{0});
  }
  Put(load.to, out);
  // There may be nothing after the header; then the rule ends.
  const bool inside = static_cast<std::size_t>(load.key) + load.to.size <= header.value.size();
  return inside ? Meets::kYes : Meets::kUnknown;
}

Meets Machine::Do(const MaskBits& op) {
  Bits bits = Get(op.from);
  for (std::size_t i = 0; i < bits.value.size(); ++i) {
    const std::uint8_t mask = i < op.mask.size() ? op.mask[i] : std::uint8_t{0};
    const std::uint8_t flip = i < op.bits.size() ? op.bits[i] : std::uint8_t{0};
    bits.value[i] = static_cast<std::uint8_t>((bits.value[i] & mask) ^ flip);
    bits.known[i] = static_cast<std::uint8_t>(bits.known[i] | (~mask & 0xff));
  }
  Put(op.to, bits);
  return Meets::kYes;
}

Meets Machine::Do(const SwapBytes& op) {
  Bits bits = Get(op.from);
  for (std::size_t i = 0; i + op.unit <= bits.value.size() && op.unit > 0; i += op.unit) {
    const auto at = static_cast<std::ptrdiff_t>(i);
    std::reverse(bits.value.begin() + at, bits.value.begin() + at + op.unit);
    std::reverse(bits.known.begin() + at, bits.known.begin() + at + op.unit);
  }
  Put(op.to, bits);
  return Meets::kYes;
}

Meets Machine::Do(const Compare& op) const {
  const Bits bits = Get({op.from.at, static_cast<std::uint8_t>(op.value.size())});
  const ByteString least = Least(bits), greatest = Greatest(bits);
  const ByteString& value = op.value;
  switch (op.operation) {
    case NFT_CMP_EQ:
    case NFT_CMP_NEQ:
      return Turned(Equal(bits, value), op.operation == NFT_CMP_NEQ);
    case NFT_CMP_LT:
    case NFT_CMP_GTE: {
      const Meets less = greatest < value ? Meets::kYes
                         : least < value  ? Meets::kUnknown
                                          : Meets::kNo;
      return Turned(less, op.operation == NFT_CMP_GTE);
    }
    case NFT_CMP_LTE:
    case NFT_CMP_GT: {
      const Meets most = greatest <= value ? Meets::kYes
                         : least <= value  ? Meets::kUnknown
                                           : Meets::kNo;
      return Turned(most, op.operation == NFT_CMP_GT);
    }
    default:
      return Meets::kUnknown;
  }
}

Meets Machine::Do(const Within& op) const {
  const Bits bits = Get({op.from.at, static_cast<std::uint8_t>(op.first.size())});
  return Turned(Between(bits, op.first, op.last), op.negated);
}

Found Machine::Find(const Lookup& lookup) const {
  Found out;
  if (lookup.set >= table_.sets.size()) return out;
  const SetModel& set = table_.sets[lookup.set];
  const Bits key = Get(lookup.from);
  if (set.fields.empty() && key.whole()) {
    // The last item that begins at or before the key.
    auto behind = std::ranges::upper_bound(set.items, key.value, {}, &SetItem::first);
    if (behind != set.items.begin() && Meet(key, *--behind, set.fields) == Meets::kYes) {
      out.possible.push_back(&*behind);
      out.surely = !set.unknown;
      return out;
    }
  } else {
    for (const SetItem& item : set.items) {
      const Meets meets = Meet(key, item, set.fields);
      if (meets == Meets::kNo) continue;
      out.possible.push_back(&item);
      if (meets == Meets::kYes && out.possible.size() == 1) {
        out.surely = !set.unknown;
        return out;
      }
    }
  }
  if (set.otherwise) {
    out.surely = out.possible.empty() && !set.unknown;
    out.possible.push_back(&*set.otherwise);
  }
  return out;
}

Meets Machine::Do(const Lookup& op) {
  const Found found = Find(op);
  const bool unknown = op.set >= table_.sets.size() || table_.sets[op.set].unknown;
  Meets meets = found.surely ? Meets::kYes : Meets::kUnknown;
  if (found.possible.empty() && !unknown) meets = Meets::kNo;
  // Any key matches the element "*".
  if (op.to) {
    if (found.surely) {
      Put(*op.to, Whole(found.possible.front()->data));
    } else {
      Put(*op.to, {ByteString(op.to->size, 0), ByteString(op.to->size, 0)});
    }
  }
  return Turned(meets, op.negated);
}

}  // namespace sluice::capture::explain
