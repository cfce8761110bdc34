// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/netlink_socket.h"

#include <linux/capability.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/os/capabilities.h"
#include "nftables/batch.h"

namespace sluice::nftables {
namespace {

// A dump comes in parts of up to 32 KiB: a larger reader's buffer means fewer parts.
constexpr std::size_t kReceiveBytes = 65536;

Error NoPrivilege(std::string doing) {
  ErrorText text{.doing = std::move(doing),
                 .target = {},
                 .why = "missing CAP_NET_ADMIN",
                 .help = "grant it: securityContext.capabilities.add: [NET_ADMIN]"};
  if (ReadCapabilities().Has(CAP_NET_ADMIN)) {
    text.why = std::strerror(EPERM);
    text.help =
        "the network namespace belongs to another user namespace; run in the one that owns it";
  } else if (::geteuid() != 0 && IsInBoundingSet(CAP_NET_ADMIN)) {
    // It was granted, but lost when a user other than root started the program.
    text.help +=
        "; for a user other than root the program's file needs it too: setcap "
        "cap_net_admin=p, as in our image; else runAsUser: 0";
  }
  return Error(ErrorKind::kPrivilege, std::move(text));
}

Error NoNftables(int saved_errno) {
  return Error(
      ErrorKind::kKernelFeature,
      {.doing = "talk to nf_tables",
       .target = {},
       .why = std::string("the kernel has no nf_tables (") + std::strerror(saved_errno) + ")",
       .help = "load the module nf_tables, or use --backend iptables"});
}

bool IsMissingFeature(int error) {
  return error == ENOENT || error == EOPNOTSUPP || error == EAFNOSUPPORT ||
         error == EPROTONOSUPPORT;
}

}  // namespace

NetlinkSocket::NetlinkSocket()
    : buffer_(std::make_unique_for_overwrite<std::uint8_t[]>(kReceiveBytes)) {
  socket_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!socket_) {
    if (errno == EPERM || errno == EACCES) throw NoPrivilege("open a netlink socket");
    if (errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT) throw NoNftables(errno);
    throw SystemError(errno, "open a netlink socket");
  }
}

void NetlinkSocket::Send(const std::string& bytes) {
  const sockaddr_nl kernel{.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = 0, .nl_groups = 0};
  for (;;) {
    const ssize_t sent = ::sendto(socket_.get(), bytes.data(), bytes.size(), 0,
                                  reinterpret_cast<const sockaddr*>(&kernel), sizeof(kernel));
    if (sent >= 0) return;
    if (errno != EINTR) throw SystemError(errno, "send to nf_tables");
  }
}

void NetlinkSocket::SendRequest(int message, std::uint16_t flags, std::uint8_t family,
                                const Fill& fill) {
  MessageWriter request;
  request.Begin(MessageType(message), flags, ++sequence_, family);
  if (fill) fill(request);
  request.End();
  Send(request.bytes());
}

// A batch is sent as one message, which must fit into the socket's buffer.
bool NetlinkSocket::MakeRoom(std::size_t bytes) {
  // net.core.wmem_default is 212,992 nearly everywhere; half of that is safe anywhere.
  constexpr std::size_t kFits = 100'000;
  if (bytes <= kFits) return true;
  // The first is refused in a user namespace, the second is limited by net.core.wmem_max.
  int size = static_cast<int>(2 * bytes);
  if (setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == 0) return true;
  (void)setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  socklen_t length = sizeof(size);
  if (getsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &size, &length) != 0) return false;
  // The kernel's netlink_sendmsg() needs 32 bytes more.
  return bytes + 32 <= static_cast<std::size_t>(size);
}

void NetlinkSocket::SendBatch(const std::string& bytes) {
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  const msghdr message{.msg_name = nullptr,
                       .msg_namelen = 0,
                       .msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = nullptr,
                       .msg_controllen = 0,
                       .msg_flags = 0};
  while (::sendmsg(socket_.get(), &message, 0) < 0) {
    if (errno != EINTR) throw SystemError(errno, "write the rules of nf_tables");
  }
}

// Returns how many bytes of buffer_ were filled; 0 if there is nothing to receive.
std::size_t NetlinkSocket::Receive() {
  for (;;) {
    const ssize_t size = ::recv(socket_.get(), buffer_.get(), kReceiveBytes, MSG_DONTWAIT);
    if (size >= 0) return static_cast<std::size_t>(size);
    // The kernel answers before sendto returns. A full socket loses messages (ENOBUFS).
    if (errno == EAGAIN) return 0;
    if (errno != EINTR && errno != ENOBUFS) throw SystemError(errno, "receive from nf_tables");
  }
}

std::uint32_t NetlinkSocket::Generation() {
  std::optional<std::uint32_t> generation;
  Ask(NFT_MSG_GETGEN, NFPROTO_UNSPEC, {}, [&generation](const Message& message) {
    if (message.type == NLMSG_ERROR) {
      if (message.error == EPERM || message.error == EACCES) {
        throw NoPrivilege("read the rules of nf_tables");
      }
      throw NoNftables(message.error);
    }
    if (const auto inside = OfNetfilter(message)) {
      generation = NumberOf(inside->attributes, NFTA_GEN_ID);
    }
  });
  if (!generation) throw NoNftables(EPROTO);
  return *generation;
}

void NetlinkSocket::Ask(int message, std::uint8_t family, const Fill& fill,
                        const std::function<void(const Message&)>& visit) {
  SendRequest(message, 0, family, fill);
  for (bool answered = false; !answered;) {
    const std::size_t size = Receive();
    if (size == 0) return;
    Bytes bytes(buffer_.get(), size);
    while (const auto answer = TakeMessage(bytes)) {
      if (answer->sequence != sequence_) continue;
      visit(*answer);
      answered = true;
    }
  }
}

bool NetlinkSocket::Dump(int message, std::uint8_t family, const Fill& fill,
                         const std::function<void(const NetfilterMessage&)>& visit) {
  SendRequest(message, NLM_F_DUMP, family, fill);
  bool consistent = true;
  for (;;) {
    const std::size_t size = Receive();
    if (size == 0) return false;
    Bytes bytes(buffer_.get(), size);
    while (const auto answer = TakeMessage(bytes)) {
      if (answer->sequence != sequence_) continue;
      if ((answer->flags & NLM_F_DUMP_INTR) != 0) consistent = false;
      if (answer->type == NLMSG_ERROR || answer->type == NLMSG_DONE) {
        if (answer->error == 0) return consistent;
        // Something was removed during the dump.
        if (answer->error == ENOENT || answer->error == EINTR || answer->error == EAGAIN) {
          return false;
        }
        if (answer->error == EPERM) throw NoPrivilege("read the rules of nf_tables");
        throw SystemError(answer->error, "read the rules of nf_tables");
      }
      if (const auto inside = OfNetfilter(*answer)) visit(*inside);
    }
  }
}

bool NetlinkSocket::Commit(const Batch& batch) {
  SendBatch(batch.bytes());
  bool done = false;
  std::optional<std::pair<int, std::uint32_t>> failure;
  while (const std::size_t received = Receive()) {
    Bytes rest(buffer_.get(), received);
    while (const auto message = TakeMessage(rest)) {
      if (message->type != NLMSG_ERROR) continue;
      if (message->error == 0) {
        done = done || message->sequence == batch.last();
      } else if (!failure) {
        failure = {message->error, message->sequence};
      }
    }
  }
  if (!failure && done) return true;
  if (!failure) failure = {EPROTO, 0};
  if (failure->first == ERESTART || failure->first == EAGAIN) return false;
  const Batch::Doing doing = batch.doing(failure->second);
  if (failure->first == EPERM || failure->first == EACCES) throw NoPrivilege(doing.what);
  if (IsMissingFeature(failure->first)) {
    throw Error(
        ErrorKind::kKernelFeature,
        {.doing = doing.what,
         .target = {},
         .why = std::string("the kernel cannot do that (") + std::strerror(failure->first) + ")",
         .help = doing.needs.empty() ? "use --backend iptables"
                                     : "load " + doing.needs + ", or use --backend iptables"});
  }
  throw SystemError(failure->first, doing.what);
}

}  // namespace sluice::nftables
