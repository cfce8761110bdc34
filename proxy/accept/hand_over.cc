// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/hand_over.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

namespace sluice::proxy {
namespace {

// Each message is one letter.
constexpr char kSockets = 'L';  // with descriptors; the first of all is asked_on
constexpr char kEnd = 'E';
constexpr char kTaken = 'T';
constexpr char kStop = 'S';

// Below SCM_MAX_FD, which is 253 (include/net/scm.h).
constexpr std::size_t kSocketsPerMessage = 200;

// A proxy that runs answers at once; one that is stuck must not keep the next one from starting.
constexpr timeval kPatience{.tv_sec = 5, .tv_usec = 0};

UniqueFd UnixSocket(int flags) {
  return UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0));
}

socklen_t AbstractAddress(const std::string& name, sockaddr_un& out) {
  out = {};
  out.sun_family = AF_UNIX;
  const std::size_t length = std::min(name.size(), sizeof(out.sun_path) - 1);
  std::memcpy(out.sun_path + 1, name.data(), length);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
}

bool Send(int fd, char letter, std::span<const int> descriptors) {
  iovec bytes{.iov_base = &letter, .iov_len = 1};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kSocketsPerMessage * sizeof(int))> control{};
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  return ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

struct Message {
  char letter = 0;  // 0: nothing more comes
  ucred sender{};
  std::vector<UniqueFd> descriptors;
};

// Waits as long as SO_RCVTIMEO says. The socket has SO_PASSCRED.
Message Receive(int fd) {
  Message out;
  iovec bytes{.iov_base = &out.letter, .iov_len = 1};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  alignas(cmsghdr)
      std::array<char, CMSG_SPACE(kSocketsPerMessage * sizeof(int)) + CMSG_SPACE(sizeof(ucred))>
          control{};
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != 1) out.letter = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    if (header->cmsg_type == SCM_CREDENTIALS) {
      std::memcpy(&out.sender, CMSG_DATA(header), sizeof(out.sender));
    } else if (header->cmsg_type == SCM_RIGHTS) {
      const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int each = -1;
        std::memcpy(&each, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
        out.descriptors.emplace_back(each);
      }
    }
  }
  return out;
}

}  // namespace

std::string HandOverName(std::uint16_t outbound_port, std::uint16_t inbound_port) {
  return "sluice-proxy/" + std::to_string(outbound_port) + "/" + std::to_string(inbound_port);
}

std::optional<Predecessor> Predecessor::Ask(const std::string& name) {
  Predecessor out;
  out.connection_ = UnixSocket(0);
  const int fd = out.connection_.get();
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
  sockaddr_un address;
  const socklen_t length = AbstractAddress(name, address);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) return std::nullopt;
  while (true) {
    Message message = Receive(fd);
    // Anybody in this network namespace may have taken the name.
    if (message.letter == 0 || message.sender.uid != ::geteuid()) return std::nullopt;
    out.pid_ = message.sender.pid;
    for (UniqueFd& each : message.descriptors) {
      (out.asked_on_ ? out.listeners_.emplace_back() : out.asked_on_) = std::move(each);
    }
    if (message.letter == kEnd) break;
  }
  if (!out.asked_on_) return std::nullopt;
  return out;
}

void Predecessor::Taken(bool stop) {
  Send(connection_.get(), stop ? kStop : kTaken, {});
  connection_.reset();
}

HandOver::HandOver(const std::string& name, UniqueFd asked_on)
    : uid_(::geteuid()), asked_on_(std::move(asked_on)) {
  if (asked_on_) return;
  UniqueFd fd = UnixSocket(SOCK_NONBLOCK);
  sockaddr_un address;
  const socklen_t length = AbstractAddress(name, address);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return;
  if (::listen(fd.get(), 1) != 0) return;
  asked_on_ = std::move(fd);
}

std::array<pollfd, 2> HandOver::Awaited() const {
  // One asks at a time; the next one waits in the queue.
  return {pollfd{.fd = asker_ ? -1 : asked_on_.get(), .events = POLLIN, .revents = 0},
          pollfd{.fd = asker_.get(), .events = POLLIN, .revents = 0}};
}

HandOver::News HandOver::Serve(const std::vector<int>& listeners) {
  if (!asker_) {
    Answer(listeners);
    return News::kNone;
  }
  char letter = 0;
  const ssize_t got = ::recv(asker_.get(), &letter, 1, MSG_DONTWAIT);
  if (got < 0) return News::kNone;
  // An end without a word: it could not start.
  asker_.reset();
  if (got != 1 || (letter != kTaken && letter != kStop)) return News::kNone;
  asked_on_.reset();
  taken_ = true;
  return letter == kStop ? News::kStop : News::kTaken;
}

void HandOver::Answer(const std::vector<int>& listeners) {
  UniqueFd asker(::accept4(asked_on_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!asker) return;
  ucred who{};
  socklen_t length = sizeof(who);
  if (::getsockopt(asker.get(), SOL_SOCKET, SO_PEERCRED, &who, &length) != 0) return;
  if (who.uid != uid_) return;
  std::vector<int> all = {asked_on_.get()};
  all.insert(all.end(), listeners.begin(), listeners.end());
  for (std::span<const int> rest(all); !rest.empty();) {
    const std::span<const int> part = rest.first(std::min(rest.size(), kSocketsPerMessage));
    if (!Send(asker.get(), kSockets, part)) return;
    rest = rest.subspan(part.size());
  }
  if (Send(asker.get(), kEnd, {})) asker_ = std::move(asker);
}

}  // namespace sluice::proxy
