// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What a program can load of a packet (the eval functions of net/netfilter/nft_*.c).
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "capture/explain/machine.h"

namespace sluice::capture::explain {
namespace {

using Kind = RouteAnswer::Kind;

template <typename T>
ByteString HostBytes(T value) {
  ByteString out(sizeof(value));
  std::memcpy(out.data(), &value, sizeof(value));
  return out;
}

}  // namespace

void Machine::PutNumber(const Slot& slot, std::uint32_t value, std::uint32_t known) {
  Put(slot, {HostBytes(value), HostBytes(known)});
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
  Put(load.to, UnknownBytes(load.to.size));
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
      Put(to, UnknownBytes(to.size));
      return Meets::kUnknown;
  }
}

// nft_ct_get_eval(): without a connection only the state is known.
Meets Machine::LoadCt(const Load& load) {
  const bool none = !packet_.tracked || packet_.untracked || packet_.state == kStateInvalid;
  if (conntrack_unsure_) {
    Put(load.to, UnknownBytes(load.to.size));
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
  Put(load.to, UnknownBytes(load.to.size));
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

}  // namespace sluice::capture::explain
