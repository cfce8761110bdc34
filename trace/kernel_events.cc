// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "trace/kernel_events.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "nftables/codec.h"

namespace sluice::trace {
namespace {

using nftables::MessageWriter;
using nftables::OfNetfilter;
using nftables::PutData;
using nftables::PutExpression;
using nftables::TakeMessage;

// Room for the events of about ten thousand connections, in case the process is not running.
constexpr int kEventBytes = 8 << 20;
// An event is smaller than 1 KiB, and so is an acknowledgement.
constexpr std::size_t kMessageBytes = 16384;

Error NoPrivilege(std::string doing, int saved_errno) {
  return Error(ErrorKind::kPrivilege,
               {.doing = std::move(doing),
                .target = {},
                .why = std::strerror(saved_errno),
                .help = "this needs CAP_NET_ADMIN in the user namespace that owns the network "
                        "namespace; nothing else"});
}

[[noreturn]] void Throw(int saved_errno, const char* doing, const char* modules) {
  if (saved_errno == EPERM || saved_errno == EACCES) throw NoPrivilege(doing, saved_errno);
  if (saved_errno == EPROTONOSUPPORT || saved_errno == EAFNOSUPPORT || saved_errno == ENOENT ||
      saved_errno == EOPNOTSUPP || saved_errno == EINVAL) {
    throw Error(ErrorKind::kKernelFeature, {.doing = doing,
                                            .target = {},
                                            .why = std::string("the kernel cannot do that (") +
                                                   std::strerror(saved_errno) + ")",
                                            .help = std::string("load ") + modules});
  }
  throw SystemError(saved_errno, doing);
}

void SendAll(int fd, const void* data, std::size_t size, const char* doing) {
  while (::send(fd, data, size, 0) < 0) {
    if (errno != EINTR) throw SystemError(errno, doing);
  }
}

void Load(MessageWriter& out, const char* name, std::uint16_t key_attribute, std::uint32_t key,
          std::uint16_t register_attribute) {
  PutExpression(out, name, [&] {
    out.PutBig32(key_attribute, key);
    out.PutBig32(register_attribute, NFT_REG_1);
  });
}

void CompareWith(MessageWriter& out, std::uint32_t operation, Bytes value) {
  PutExpression(out, "cmp", [&] {
    out.PutBig32(NFTA_CMP_SREG, NFT_REG_1);
    out.PutBig32(NFTA_CMP_OP, operation);
    PutData(out, NFTA_CMP_DATA, value);
  });
}

void MaskWith(MessageWriter& out, Bytes mask) {
  const std::vector<std::uint8_t> zero(mask.size(), 0);
  PutExpression(out, "bitwise", [&] {
    out.PutBig32(NFTA_BITWISE_SREG, NFT_REG_1);
    out.PutBig32(NFTA_BITWISE_DREG, NFT_REG_1);
    out.PutBig32(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(mask.size()));
    PutData(out, NFTA_BITWISE_MASK, mask);
    PutData(out, NFTA_BITWISE_XOR, zero);
  });
}

void IsProtocol(MessageWriter& out, std::uint8_t protocol) {
  Load(out, "meta", NFTA_META_KEY, NFT_META_L4PROTO, NFTA_META_DREG);
  CompareWith(out, NFT_CMP_EQ, {&protocol, 1});
}

// meta nftrace set 1
void StartTrace(MessageWriter& out) {
  constexpr std::uint8_t kOne = 1;
  PutExpression(out, "immediate", [&] {
    out.PutBig32(NFTA_IMMEDIATE_DREG, NFT_REG_1);
    PutData(out, NFTA_IMMEDIATE_DATA, {&kOne, 1});
  });
  PutExpression(out, "meta", [&] {
    out.PutBig32(NFTA_META_KEY, NFT_META_NFTRACE);
    out.PutBig32(NFTA_META_SREG, NFT_REG_1);
  });
}

// tcp flags & (syn|ack) == syn: the first packet of a connection, in the byte 13 of RFC 9293.
void IsTcpSyn(MessageWriter& out) {
  IsProtocol(out, IPPROTO_TCP);
  PutExpression(out, "payload", [&] {
    out.PutBig32(NFTA_PAYLOAD_DREG, NFT_REG_1);
    out.PutBig32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
    out.PutBig32(NFTA_PAYLOAD_OFFSET, 13);
    out.PutBig32(NFTA_PAYLOAD_LEN, 1);
  });
  constexpr std::uint8_t kSyn = 0x02, kSynAndAck = 0x12;
  MaskWith(out, {&kSynAndAck, 1});
  CompareWith(out, NFT_CMP_EQ, {&kSyn, 1});
}

// meta l4proto udp ct state new
void IsNewUdp(MessageWriter& out) {
  IsProtocol(out, IPPROTO_UDP);
  Load(out, "ct", NFTA_CT_KEY, NFT_CT_STATE, NFTA_CT_DREG);
  // NF_CT_STATE_BIT(IP_CT_NEW), in host byte order.
  const std::uint32_t fresh = 1U << 3;
  std::array<std::uint8_t, 4> mask{};
  std::memcpy(mask.data(), &fresh, sizeof(fresh));
  constexpr std::array<std::uint8_t, 4> kZero{};
  MaskWith(out, mask);
  CompareWith(out, NFT_CMP_NEQ, kZero);
}

struct TraceChain {
  const char* name;
  std::uint32_t hook;
  std::int32_t priority;
  void (*conditions)(MessageWriter&);
};
constexpr std::array<TraceChain, 4> kChains = {
    {{"prerouting-tcp", NF_INET_PRE_ROUTING, -310, IsTcpSyn},
     {"prerouting-udp", NF_INET_PRE_ROUTING, -199, IsNewUdp},
     {"output-tcp", NF_INET_LOCAL_OUT, -310, IsTcpSyn},
     {"output-udp", NF_INET_LOCAL_OUT, -199, IsNewUdp}}};

constexpr std::uint16_t NftType(int message) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message);
}

std::string TableBatch(const std::string& name, Family family) {
  MessageWriter out;
  std::uint32_t number = 0;
  out.Begin(NFNL_MSG_BATCH_BEGIN, 0, number++, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
  out.End();
  const std::uint8_t kernel_family = family == Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
  const auto begin = [&](int message, int flags) {
    out.Begin(NftType(message), static_cast<std::uint16_t>(flags), number++, kernel_family);
  };
  begin(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
  out.PutText(NFTA_TABLE_NAME, name);
  out.PutBig32(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
  out.End();
  for (const TraceChain& chain : kChains) {
    begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    out.PutText(NFTA_CHAIN_TABLE, name);
    out.PutText(NFTA_CHAIN_NAME, chain.name);
    const std::size_t hook = out.Open(NFTA_CHAIN_HOOK);
    out.PutBig32(NFTA_HOOK_HOOKNUM, chain.hook);
    out.PutBig32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(chain.priority));
    out.Close(hook);
    out.PutBig32(NFTA_CHAIN_POLICY, NF_ACCEPT);
    out.PutText(NFTA_CHAIN_TYPE, "filter");
    out.End();
    begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    out.PutText(NFTA_RULE_TABLE, name);
    out.PutText(NFTA_RULE_CHAIN, chain.name);
    const std::size_t expressions = out.Open(NFTA_RULE_EXPRESSIONS);
    chain.conditions(out);
    StartTrace(out);
    out.Close(expressions);
    out.End();
  }
  out.Acknowledge();
  out.Begin(NFNL_MSG_BATCH_END, 0, number, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
  out.End();
  return out.bytes();
}

}  // namespace

EventSocket::EventSocket() : buffer_(kMessageBytes) {
  constexpr const char* kDoing = "listen to events of conntrack";
  constexpr const char* kModules = "nf_conntrack_netlink";
  socket_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
  if (!socket_) Throw(errno, kDoing, kModules);
  // The first is refused in a user namespace, the other is bounded by net.core.rmem_max.
  if (setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kEventBytes, sizeof(kEventBytes)) !=
      0) {
    static_cast<void>(
        setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &kEventBytes, sizeof(kEventBytes)));
  }
  const sockaddr_nl any{.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = 0, .nl_groups = 0};
  if (bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)) != 0) {
    Throw(errno, kDoing, kModules);
  }
  for (const int group : {NFNLGRP_CONNTRACK_NEW, NFNLGRP_NFTRACE}) {
    if (setsockopt(socket_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) !=
        0) {
      Throw(errno, kDoing, kModules);
    }
  }
}

bool EventSocket::Receive(std::vector<Event>& out) {
  out.clear();
  const ssize_t size = ::recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
  if (size < 0) {
    if (errno == EAGAIN) return false;
    if (errno == ENOBUFS) {
      ++overruns_;
      return true;
    }
    if (errno == EINTR) return true;
    throw SystemError(errno, "receive from netfilter");
  }
  Bytes bytes(buffer_.data(), static_cast<std::size_t>(size));
  while (const auto message = TakeMessage(bytes)) {
    const auto inside = OfNetfilter(*message);
    if (!inside) continue;
    if (message->type == (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW)) {
      if (const auto event = DecodeNewConnection(inside->attributes)) out.emplace_back(*event);
    } else if (message->type == NftType(NFT_MSG_TRACE)) {
      if (auto step = DecodeTraceEvent(inside->family, inside->attributes)) {
        out.emplace_back(*std::move(step));
      }
    }
  }
  return true;
}

TraceTable::TraceTable(Family family) {
  constexpr const char* kDoing = "make the table of the trace in nf_tables";
  constexpr const char* kModules = "nf_tables, in Linux 5.12 or later";
  socket_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!socket_) Throw(errno, kDoing, kModules);
  sockaddr_nl own{.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = 0, .nl_groups = 0};
  socklen_t length = sizeof(own);
  if (bind(socket_.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) != 0 ||
      getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&own), &length) != 0) {
    Throw(errno, kDoing, kModules);
  }
  // No other socket has this number, so that several traces do not collide.
  name_ = std::string(kTableNames) + std::to_string(own.nl_pid);
  const std::string batch = TableBatch(name_, family);
  SendAll(socket_.get(), batch.data(), batch.size(), kDoing);
  std::vector<std::uint8_t> buffer(kMessageBytes);
  bool done = false;
  while (true) {
    // The kernel answers before send(2) returns.
    const ssize_t size = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    Bytes bytes(buffer.data(), static_cast<std::size_t>(size));
    while (const auto message = TakeMessage(bytes)) {
      if (message->type != NLMSG_ERROR) continue;
      if (message->error != 0) Throw(message->error, kDoing, kModules);
      done = true;
    }
  }
  if (!done) throw SystemError(EPROTO, kDoing);
}

SocketLookup::SocketLookup() {
  // Without this socket, senders stay unknown.
  socket_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
}

std::optional<SocketFound> SocketLookup::Sender(const Tuple& tuple, bool own_source) {
  const bool tcp = tuple.protocol == capture::Protocol::kTcp;
  // With a foreign source the kernel would find a UDP socket on this port and any address.
  if (!socket_ || (!tcp && !own_source)) return {};
  struct {
    nlmsghdr header;
    inet_diag_req_v2 question;
  } request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.header.nlmsg_seq = ++sequence_;
  inet_diag_req_v2& question = request.question;
  question.sdiag_family = tuple.from.ip.is_v4() ? AF_INET : AF_INET6;
  question.sdiag_protocol = tcp ? IPPROTO_TCP : IPPROTO_UDP;
  question.idiag_states = ~0U;
  question.id.idiag_cookie[0] = question.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  // udp_dump_one() wants source and destination swapped.
  const SocketAddress& source = tcp ? tuple.from : tuple.to;
  const SocketAddress& destination = tcp ? tuple.to : tuple.from;
  question.id.idiag_sport = htons(source.port);
  question.id.idiag_dport = htons(destination.port);
  std::memcpy(question.id.idiag_src, source.ip.bytes().data(), source.ip.bytes().size());
  std::memcpy(question.id.idiag_dst, destination.ip.bytes().data(), destination.ip.bytes().size());
  SendAll(socket_.get(), &request, sizeof(request), "ask for a socket");
  std::optional<SocketFound> out;
  while (true) {
    const ssize_t size = ::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    Bytes bytes(buffer_.data(), static_cast<std::size_t>(size));
    while (const auto message = TakeMessage(bytes)) {
      if (message->sequence != sequence_ || message->type != SOCK_DIAG_BY_FAMILY) continue;
      out = DecodeSocket(message->payload, tuple.protocol);
    }
  }
  if (!out || out->listens || out->inode == 0 || out->tuple.from.port != tuple.from.port) return {};
  if (tcp && out->tuple != tuple) return {};
  return out;
}

}  // namespace sluice::trace
