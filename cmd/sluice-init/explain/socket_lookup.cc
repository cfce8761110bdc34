// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/explain/socket_lookup.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace sluice::init {
namespace {

struct Request {
  nlmsghdr header{};
  inet_diag_req_v2 question{};
};

}  // namespace

SocketLookup::SocketLookup()
    : socket_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)) {}

int SocketLookup::Ask(const SocketAddress& to, int in_link) {
  if (!socket_) return EOPNOTSUPP;
  Request request;
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.header.nlmsg_seq = ++sequence_;
  request.question.sdiag_family = to.ip.is_v4() ? AF_INET : AF_INET6;
  request.question.sdiag_protocol = IPPROTO_TCP;
  request.question.idiag_states = static_cast<__u32>(-1);
  inet_diag_sockid& id = request.question.id;
  id.idiag_sport = htons(to.port);
  std::memcpy(id.idiag_src, to.ip.bytes().data(), to.ip.bytes().size());
  id.idiag_if = static_cast<__u32>(in_link);
  std::ranges::fill(id.idiag_cookie, INET_DIAG_NOCOOKIE);
  while (send(socket_.get(), &request, sizeof(request), 0) < 0) {
    if (errno != EINTR) return errno;
  }
  std::array<std::byte, 8192> answer;
  while (true) {
    const ssize_t size = recv(socket_.get(), answer.data(), answer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno;
    nlmsghdr header{};
    if (static_cast<std::size_t>(size) < sizeof(header)) continue;
    std::memcpy(&header, answer.data(), sizeof(header));
    if (header.nlmsg_seq != sequence_) continue;
    if (header.nlmsg_type != NLMSG_ERROR) return 0;
    nlmsgerr error{};
    if (static_cast<std::size_t>(size) < NLMSG_HDRLEN + sizeof(error.error)) return EIO;
    std::memcpy(&error.error, answer.data() + NLMSG_HDRLEN, sizeof(error.error));
    return -error.error;
  }
}

bool SocketLookup::Answers() {
  if (answers_) return *answers_;
  answers_ = false;
  // It must find a listener of ours.
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage raw{};
  socklen_t length = ToSockaddr({IpAddress::V4(127, 0, 0, 1), 0}, raw);
  auto* const name = reinterpret_cast<sockaddr*>(&raw);
  if (!listener || bind(listener.get(), name, length) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), name, &length) != 0) {
    return false;
  }
  answers_ = Ask(FromSockaddr(raw), 0) == 0;
  return *answers_;
}

std::optional<bool> SocketLookup::Listens(const SocketAddress& to, int in_link) {
  const int error = Ask(to, in_link);
  if (error == 0) return true;
  if (error == ENOENT && Answers()) return false;
  return {};
}

}  // namespace sluice::init
