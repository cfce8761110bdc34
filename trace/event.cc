// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "trace/event.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace sluice::trace {
namespace {

using nftables::Attribute;
using nftables::FindAttribute;
using nftables::NumberOf;

// TCP_LISTEN of include/net/tcp_states.h.
constexpr std::uint8_t kListen = 10;

std::uint16_t Port(Bytes bytes) {
  return bytes.size() < 2 ? std::uint16_t{0} : static_cast<std::uint16_t>(bytes[0] << 8 | bytes[1]);
}

std::optional<capture::Protocol> ProtocolOf(std::uint8_t number) {
  if (number == IPPROTO_TCP) return capture::Protocol::kTcp;
  if (number == IPPROTO_UDP) return capture::Protocol::kUdp;
  return {};
}

std::optional<IpAddress> AddressOf(Bytes attributes, std::uint16_t v4, std::uint16_t v6) {
  if (const auto found = FindAttribute(attributes, v4); found && found->value.size() == 4) {
    return IpAddress::FromBytes(found->value);
  }
  if (const auto found = FindAttribute(attributes, v6); found && found->value.size() == 16) {
    return IpAddress::FromBytes(found->value);
  }
  return {};
}

std::optional<Tuple> DecodeTuple(Bytes attributes, std::uint16_t type) {
  const auto tuple = FindAttribute(attributes, type);
  if (!tuple) return {};
  const auto ip = FindAttribute(tuple->value, CTA_TUPLE_IP);
  const auto proto = FindAttribute(tuple->value, CTA_TUPLE_PROTO);
  if (!ip || !proto) return {};
  const auto from = AddressOf(ip->value, CTA_IP_V4_SRC, CTA_IP_V6_SRC);
  const auto to = AddressOf(ip->value, CTA_IP_V4_DST, CTA_IP_V6_DST);
  const auto number = FindAttribute(proto->value, CTA_PROTO_NUM);
  const auto from_port = FindAttribute(proto->value, CTA_PROTO_SRC_PORT);
  const auto to_port = FindAttribute(proto->value, CTA_PROTO_DST_PORT);
  if (!from || !to || from->family() != to->family() || !number || number->value.size() != 1 ||
      !from_port || from_port->value.size() != 2 || !to_port || to_port->value.size() != 2) {
    return {};
  }
  const auto protocol = ProtocolOf(number->value.front());
  if (!protocol) return {};
  return Tuple{*protocol, {*from, Port(from_port->value)}, {*to, Port(to_port->value)}};
}

// RFC 791 and RFC 8200; the transport header begins with both ports. A packet of IPv6 with an
// extension header is left out.
std::optional<Tuple> DecodePacket(Bytes network, Bytes transport) {
  if (network.empty() || transport.size() < 4) return {};
  const bool v4 = network[0] >> 4 == 4;
  if (!v4 && network[0] >> 4 != 6) return {};
  const std::size_t size = v4 ? 4 : 16;
  const std::size_t source = v4 ? 12 : 8;
  if (network.size() < source + 2 * size) return {};
  const auto protocol = ProtocolOf(network[v4 ? 9 : 6]);
  if (!protocol) return {};
  return Tuple{
      *protocol,
      {IpAddress::FromBytes(network.subspan(source, size)), Port(transport)},
      {IpAddress::FromBytes(network.subspan(source + size, size)), Port(transport.subspan(2))}};
}

template <typename T>
bool Read(Bytes bytes, T& out) {
  if (bytes.size() < sizeof(out)) return false;
  std::memcpy(&out, bytes.data(), sizeof(out));
  return true;
}

}  // namespace

std::optional<NewConnection> DecodeNewConnection(Bytes attributes) {
  const auto original = DecodeTuple(attributes, CTA_TUPLE_ORIG);
  const auto reply = DecodeTuple(attributes, CTA_TUPLE_REPLY);
  if (!original || !reply || original->protocol != reply->protocol ||
      original->to.ip.family() != reply->to.ip.family()) {
    return {};
  }
  return NewConnection{*original, *reply};
}

std::optional<TraceEvent> DecodeTraceEvent(std::uint8_t family, Bytes attributes) {
  const auto id = NumberOf(attributes, NFTA_TRACE_ID);
  if (!id) return {};
  TraceEvent out{.id = *id, .family = family};
  switch (NumberOf(attributes, NFTA_TRACE_TYPE).value_or(0)) {
    case NFT_TRACETYPE_POLICY:
      out.type = TraceEvent::Type::kPolicy;
      break;
    case NFT_TRACETYPE_RETURN:
      out.type = TraceEvent::Type::kReturn;
      break;
    case NFT_TRACETYPE_RULE:
      out.type = TraceEvent::Type::kRule;
      break;
    default:
      break;
  }
  out.table = nftables::TextOf(attributes, NFTA_TRACE_TABLE);
  out.chain = nftables::TextOf(attributes, NFTA_TRACE_CHAIN);
  if (const auto handle = FindAttribute(attributes, NFTA_TRACE_RULE_HANDLE)) {
    out.handle = handle->Big64().value_or(0);
  }
  if (const auto verdict = FindAttribute(attributes, NFTA_TRACE_VERDICT)) {
    if (const auto code = NumberOf(verdict->value, NFTA_VERDICT_CODE)) {
      out.verdict = static_cast<std::int32_t>(*code);
    }
  }
  if (out.type == TraceEvent::Type::kPolicy) {
    if (const auto policy = NumberOf(attributes, NFTA_TRACE_POLICY)) {
      out.verdict = static_cast<std::int32_t>(*policy);
    }
  }
  // An interface's index fits into an int.
  out.in_link = static_cast<int>(NumberOf(attributes, NFTA_TRACE_IIF).value_or(0) & 0x7fffffffU);
  const auto network = FindAttribute(attributes, NFTA_TRACE_NETWORK_HEADER);
  const auto transport = FindAttribute(attributes, NFTA_TRACE_TRANSPORT_HEADER);
  if (network && transport) out.tuple = DecodePacket(network->value, transport->value);
  return out;
}

std::optional<SocketFound> DecodeSocket(Bytes payload, capture::Protocol protocol) {
  inet_diag_msg found{};
  if (!Read(payload, found)) return {};
  if (found.idiag_family != AF_INET && found.idiag_family != AF_INET6) return {};
  const std::size_t size = found.idiag_family == AF_INET ? 4 : 16;
  const auto address = [size](const __be32* words) {
    std::array<std::uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), words, size);
    return IpAddress::FromBytes(std::span(bytes).first(size)).Unmapped();
  };
  SocketFound out{.tuple = {protocol,
                            {address(found.id.idiag_src), ntohs(found.id.idiag_sport)},
                            {address(found.id.idiag_dst), ntohs(found.id.idiag_dport)}},
                  .listens = found.idiag_state == kListen,
                  .uid = found.idiag_uid,
                  .inode = found.idiag_inode};
  const Bytes attributes =
      payload.subspan(std::min<std::size_t>(NLMSG_ALIGN(sizeof(found)), payload.size()));
  // Host byte order, unlike those of netfilter.
  if (const auto mark = FindAttribute(attributes, INET_DIAG_MARK)) {
    static_cast<void>(Read(mark->value, out.mark));
  }
  return out;
}

}  // namespace sluice::trace
