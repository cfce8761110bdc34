// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/probe_exchange.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/os/reset_on_close.h"

namespace sluice::verify {
namespace {

using Clock = std::chrono::steady_clock;
using capture::Protocol;
using std::chrono::milliseconds;

// When to resend a SYN, as any TCP does; the first one may meet an interface that is still coming
// up.
constexpr milliseconds kRetransmission{200};

std::uint32_t RandomNumber() {
  std::uint32_t out = 0;
  if (getrandom(&out, sizeof(out), 0) != sizeof(out)) throw SystemError(errno, "get random bytes");
  return out;
}

// A token that nobody else sends.
std::string NewToken() {
  std::string out = "sluice-probe-";
  for (int i = 0; i < 4; ++i) out += std::to_string(RandomNumber()) + "-";
  return out;
}

// A port in the range for clients (RFC 6335).
std::uint16_t ClientPort() { return static_cast<std::uint16_t>(49152 + RandomNumber() % 16384); }

// Drops frames of earlier probes.
void Drain(ProbeLink& link) {
  while (link.Receive()) {
  }
}

// The packets must not get past the first router.
void LimitHops(int fd, Family family) {
  const int hops = 1;
  const bool v4 = family == Family::kIpv4;
  const int failed = setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS,
                                &hops, sizeof(hops));
  if (failed != 0) throw SystemError(errno, "set the hop limit of a probe");
}

bool IsRoutingFailure(int failure) {
  return failure == ENETUNREACH || failure == EHOSTUNREACH || failure == EADDRNOTAVAIL;
}

SocketAddress NameOf(int fd) {
  sockaddr_storage raw = {};
  socklen_t length = sizeof(raw);
  getsockname(fd, reinterpret_cast<sockaddr*>(&raw), &length);
  return FromSockaddr(raw);
}

class Attempt {
 public:
  Attempt(const Probe& probe, ProbeLink* link, milliseconds limit)
      : probe_(probe), link_(link), deadline_(Clock::now() + limit), token_(NewToken()) {}

  void Watch(const Listener& listener) { listeners_.push_back(&listener); }
  Outcome Run();

 private:
  struct Accepted {
    const Listener* listener;
    UniqueFd fd;
    std::string data = {};
  };

  // All return true when the outcome is known.
  bool StartSocket();
  bool StartClient();
  bool OnFrame(const Segment& segment);
  bool OnClientFrame(const Segment& segment);
  bool OnSocket(short events);
  bool OnFailure(int failure);
  bool OnListener(const Listener& listener);
  bool OnDatagram(const Listener& listener);
  bool OnAccepted(Accepted& accepted);
  bool Advance();

  bool Finish(Outcome::Kind kind, std::string note = {});
  bool Arrive(const Listener& listener, Delivery arrival);
  void SendSyn();
  Segment ClientSegment() const;

  const Probe& probe_;
  ProbeLink* link_;
  const Clock::time_point deadline_;
  const std::string token_;
  std::vector<const Listener*> listeners_;
  std::vector<Accepted> accepted_;
  Outcome outcome_;

  UniqueFd socket_;  // of the client, if it is in the pod
  bool connected_ = false;
  std::uint32_t sequence_ = 0;  // of the simulated client
  std::uint32_t acknowledgement_ = 0;
  bool answer_due_ = false;
};

bool Attempt::Finish(Outcome::Kind kind, std::string note) {
  outcome_.kind = kind;
  if (!note.empty()) outcome_.note = std::move(note);
  return true;
}

bool Attempt::Arrive(const Listener& listener, Delivery arrival) {
  outcome_.landing = listener.landing;
  outcome_.listener = listener.address;
  outcome_.arrival = std::move(arrival);
  return Finish(Outcome::Kind::kArrived);
}

bool Attempt::StartSocket() {
  auto fd = OpenSocketAs(probe_.owner, probe_.family, probe_.protocol);
  if (!fd) return Finish(Outcome::Kind::kImpossible, "needs CAP_SETUID and CAP_SETGID");
  socket_ = std::move(*fd);
  ResetOnClose(socket_.get());
  if (link_ == nullptr) LimitHops(socket_.get(), probe_.family);
  sockaddr_storage raw;
  socklen_t length = 0;
  if (probe_.bind) {
    length = ToSockaddr({*probe_.bind, 0}, raw);
    if (bind(socket_.get(), reinterpret_cast<sockaddr*>(&raw), length) != 0) {
      return Finish(
          Outcome::Kind::kRefused,
          "cannot use the source address " + probe_.bind->ToString() + ": " + std::strerror(errno));
    }
  }
  length = ToSockaddr(probe_.destination, raw);
  if (connect(socket_.get(), reinterpret_cast<sockaddr*>(&raw), length) != 0 &&
      errno != EINPROGRESS) {
    // Without a route, packets do not get to the rules.
    if (link_ == nullptr && IsRoutingFailure(errno)) {
      return Finish(Outcome::Kind::kImpossible, "no route: " + std::string(std::strerror(errno)));
    }
    return Finish(Outcome::Kind::kRefused, std::strerror(errno));
  }
  outcome_.client = NameOf(socket_.get());
  if (probe_.protocol == capture::Protocol::kUdp) {
    connected_ = true;
    if (send(socket_.get(), token_.data(), token_.size(), MSG_NOSIGNAL) < 0) {
      return Finish(Outcome::Kind::kRefused, std::strerror(errno));
    }
  }
  return false;
}

Segment Attempt::ClientSegment() const {
  Segment out;
  out.source = outcome_.client;
  out.destination = probe_.destination;
  out.sequence = sequence_;
  out.acknowledgement = acknowledgement_;
  out.ack = connected_;
  return out;
}

void Attempt::SendSyn() {
  Segment syn = ClientSegment();
  syn.syn = true;
  link_->Send(syn);
}

bool Attempt::StartClient() {
  outcome_.client = {*probe_.client, ClientPort()};
  sequence_ = RandomNumber();
  SendSyn();
  return false;
}

// A frame for the simulated client.
bool Attempt::OnClientFrame(const Segment& segment) {
  if (segment.destination != outcome_.client || segment.source != probe_.destination) return false;
  if (segment.rst) return Finish(Outcome::Kind::kRefused, "connection refused");
  if (connected_ || !segment.syn || !segment.ack || segment.acknowledgement != sequence_ + 1) {
    return false;
  }
  connected_ = true;
  ++sequence_;
  acknowledgement_ = segment.sequence + 1;
  Segment data = ClientSegment();
  data.payload = token_;
  link_->Send(data);
  sequence_ += static_cast<std::uint32_t>(token_.size());
  return false;
}

bool Attempt::OnFrame(const Segment& segment) {
  if (probe_.client) return OnClientFrame(segment);
  if (segment.protocol != probe_.protocol || segment.destination != probe_.destination ||
      segment.source.port != outcome_.client.port) {
    return false;
  }
  if (probe_.protocol == capture::Protocol::kTcp) link_->Send(ResetFor(segment));
  return Finish(Outcome::Kind::kLeft);
}

bool Attempt::OnFailure(int failure) {
  const std::string why = std::strerror(failure);
  if (link_ != nullptr || probe_.expected != Landing::kOutside) {
    return Finish(Outcome::Kind::kRefused, why);
  }
  if (failure != ECONNREFUSED) return Finish(Outcome::Kind::kLeft, "a router answered: " + why);
  return Finish(Outcome::Kind::kImpossible, "was refused, and it is not visible by whom");
}

// The pod's client: connected, refused, or answered.
bool Attempt::OnSocket(short events) {
  int failure = 0;
  socklen_t length = sizeof(failure);
  getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &failure, &length);
  if (failure != 0) return OnFailure(failure);
  if (!connected_ && (events & POLLOUT) != 0) {
    connected_ = true;
    send(socket_.get(), token_.data(), token_.size(), MSG_NOSIGNAL);
    return false;
  }
  if (probe_.protocol != capture::Protocol::kUdp) return false;
  std::array<char, 256> buffer;
  const ssize_t size = recv(socket_.get(), buffer.data(), buffer.size(), 0);
  if (size < 0) return false;
  answer_due_ = false;
  return std::string_view(buffer.data(), static_cast<std::size_t>(size)) == token_ &&
         Finish(Outcome::Kind::kArrived);
}

bool Attempt::OnDatagram(const Listener& listener) {
  std::array<char, 256> buffer;
  sockaddr_storage raw = {};
  socklen_t length = sizeof(raw);
  auto* const from = reinterpret_cast<sockaddr*>(&raw);
  const ssize_t size = recvfrom(listener.fd.get(), buffer.data(), buffer.size(), 0, from, &length);
  if (size < 0) return false;
  if (std::string_view(buffer.data(), static_cast<std::size_t>(size)) != token_) return false;
  Delivery arrival{.data = token_, .client = FromSockaddr(raw), .local = listener.address};
  Arrive(listener, std::move(arrival));
  if (!listener.as_proxy) {
    outcome_.note = "its answer was not checked: that needs CAP_SETUID";
    return true;
  }
  // The answer must seem to come from the resolver: the client's socket accepts no other.
  answer_due_ = true;
  sendto(listener.fd.get(), token_.data(), token_.size(), MSG_NOSIGNAL, from, length);
  return false;
}

bool Attempt::OnListener(const Listener& listener) {
  if (listener.protocol == capture::Protocol::kUdp) return OnDatagram(listener);
  UniqueFd fd(accept4(listener.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) return false;
  ResetOnClose(fd.get());
  accepted_.push_back({.listener = &listener, .fd = std::move(fd)});
  return OnAccepted(accepted_.back());
}

bool Attempt::OnAccepted(Accepted& accepted) {
  std::array<char, 256> buffer;
  const ssize_t size = recv(accepted.fd.get(), buffer.data(), buffer.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  if (size <= 0) {  // not ours, or closed early
    accepted.fd.reset();
    return false;
  }
  accepted.data.append(buffer.data(), static_cast<std::size_t>(size));
  if (accepted.data != token_) return false;
  Delivery arrival = DescribeConnection(accepted.fd.get());
  arrival.data = token_;
  return Arrive(*accepted.listener, std::move(arrival));
}

bool Attempt::Advance() {
  std::erase_if(accepted_, [](const Accepted& accepted) { return !accepted.fd; });
  // poll(2) ignores -1.
  const int frames = link_ == nullptr ? -1 : link_->fd();
  std::vector<pollfd> waiting = {{.fd = frames, .events = POLLIN, .revents = 0}};
  const short wanted = connected_ ? POLLIN : POLLOUT;
  waiting.push_back({.fd = socket_.get(), .events = wanted, .revents = 0});
  for (const Listener* listener : listeners_) {
    waiting.push_back({.fd = listener->fd.get(), .events = POLLIN, .revents = 0});
  }
  for (const Accepted& accepted : accepted_) {
    waiting.push_back({.fd = accepted.fd.get(), .events = POLLIN, .revents = 0});
  }
  auto wait = std::chrono::ceil<milliseconds>(deadline_ - Clock::now());
  const bool unheard = probe_.client && !connected_;
  if (unheard) wait = std::min(wait, kRetransmission);
  const int ready = poll(waiting.data(), waiting.size(),
                         static_cast<int>(std::max(wait, milliseconds(0)).count()));
  if (ready < 0 && errno != EINTR) throw SystemError(errno, "wait for a probe");
  if (ready <= 0) {
    if (unheard) SendSyn();
    return false;
  }
  // Frames first: a packet that left the pod is answered with a reset, which must not be mistaken
  // for one from the pod.
  while (link_ != nullptr) {
    const auto segment = link_->Receive();
    if (!segment) break;
    if (OnFrame(*segment)) return true;
  }
  std::size_t at = 2;
  const std::size_t already_accepted = accepted_.size();
  for (const Listener* listener : listeners_) {
    if (waiting[at++].revents != 0 && OnListener(*listener)) return true;
  }
  for (std::size_t i = 0; i < already_accepted; ++i) {
    if (waiting[at++].revents != 0 && OnAccepted(accepted_[i])) return true;
  }
  return waiting[1].revents != 0 && OnSocket(waiting[1].revents);
}

Outcome Attempt::Run() {
  if (link_ != nullptr) Drain(*link_);
  bool known = probe_.client ? StartClient() : StartSocket();
  while (!known && Clock::now() < deadline_) known = Advance();
  if (!known && answer_due_) {
    outcome_.kind = Outcome::Kind::kUnanswered;
  } else if (!known && link_ == nullptr && probe_.expected == Landing::kOutside) {
    Finish(Outcome::Kind::kLeft, "no listener of the probe got it");
  }
  if (probe_.client && connected_) {
    Segment reset = ClientSegment();
    reset.rst = true;
    link_->Send(reset);
  }
  return std::move(outcome_);
}

}  // namespace

Outcome Try(const Probe& probe, ProbeLink* link, const std::vector<Listener>& listeners,
            const Listener* direct, milliseconds limit) {
  if (link == nullptr && probe.expected == Landing::kOutside) limit = std::min(limit, kQuietTime);
  Attempt attempt(probe, link, limit);
  for (const Listener& listener : listeners) attempt.Watch(listener);
  if (direct != nullptr) attempt.Watch(*direct);
  return attempt.Run();
}

}  // namespace sluice::verify
