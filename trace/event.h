// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/socket_address.h"
#include "capture/rule.h"
#include "nftables/message.h"

// What the kernel reports about connections, as values, and the decoders of its netlink messages.
// Pure; accepts any bytes.
namespace sluice::trace {

using nftables::Bytes;

// Tables that only make the kernel send trace events have names with this prefix.
inline constexpr std::string_view kTableNames = "sluice_trace_";

// The addresses and ports of a packet.
struct Tuple {
  capture::Protocol protocol = capture::Protocol::kTcp;
  SocketAddress from;
  SocketAddress to;

  friend auto operator<=>(const Tuple&, const Tuple&) = default;
};

// A new entry of conntrack (linux/netfilter/nfnetlink_conntrack.h).
struct NewConnection {
  Tuple original;  // as the client sent the first packet
  Tuple reply;     // as answers come: its source is where the connection landed

  // Whether the rules changed the destination.
  bool redirected() const { return reply.from != original.to; }
};

// A packet's step through the rules of nf_tables (NFT_MSG_TRACE).
struct TraceEvent {
  enum class Type : std::uint8_t { kOther, kPolicy, kReturn, kRule };
  Type type = Type::kOther;
  std::uint32_t id = 0;     // of the packet; later packets may reuse it
  std::uint8_t family = 0;  // of the table: NFPROTO_IPV4, NFPROTO_INET, ...
  std::string table = {};
  std::string chain = {};
  std::uint64_t handle = 0;                  // of the rule
  std::optional<std::int32_t> verdict = {};  // NF_DROP, NFT_RETURN, ...; of a policy as well
  int in_link = 0;                           // the index of the interface; 0 for none
  // Of the packet, in the first step of each base chain; only of TCP and UDP.
  std::optional<Tuple> tuple = {};
};

// A socket (linux/inet_diag.h).
struct SocketFound {
  Tuple tuple;  // from its own address to its peer's
  bool listens = false;
  std::uint32_t uid = 0;
  std::uint32_t inode = 0;  // 0: no process has it open
  std::uint32_t mark = 0;
};

// `family`: of the nfgenmsg header, such as NFPROTO_IPV4.
std::optional<NewConnection> DecodeNewConnection(Bytes attributes);
std::optional<TraceEvent> DecodeTraceEvent(std::uint8_t family, Bytes attributes);
// The payload of a SOCK_DIAG_BY_FAMILY message, in answer to a question about `protocol`.
std::optional<SocketFound> DecodeSocket(Bytes payload, capture::Protocol protocol);

}  // namespace sluice::trace
