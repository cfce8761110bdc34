// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/unit/dns/dns_peers.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace sluice::dns {
namespace {

void Check(bool ok, const char* what) {
  if (!ok) throw std::system_error(errno, std::generic_category(), what);
}

SocketAddress Loopback(Family family, std::uint16_t port) {
  return {IpAddress::Parse(family == Family::kIpv4 ? "127.0.0.1" : "::1"), port};
}

UniqueFd Bound(const SocketAddress& address, int type) {
  sockaddr_storage storage{};
  const auto length = ToSockaddr(address, storage);
  UniqueFd fd(socket(storage.ss_family, type | SOCK_CLOEXEC, 0));
  Check(static_cast<bool>(fd), "socket");
  Check(bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) == 0, "bind");
  return fd;
}

SocketAddress LocalAddress(const UniqueFd& fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  Check(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &length) == 0, "getsockname");
  return FromSockaddr(storage);
}

void SetPatience(const UniqueFd& fd, std::chrono::milliseconds patience) {
  const timeval wait{.tv_sec = patience.count() / 1000, .tv_usec = patience.count() % 1000 * 1000};
  for (const int direction : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    Check(setsockopt(fd.get(), SOL_SOCKET, direction, &wait, sizeof(wait)) == 0, "setsockopt");
  }
}

DnsBytes WithLength(const DnsBytes& message) {
  DnsBytes out(2 + message.size());
  out[0] = static_cast<std::uint8_t>(message.size() >> 8);
  out[1] = static_cast<std::uint8_t>(message.size() & 0xff);
  std::ranges::copy(message, out.begin() + 2);
  return out;
}

// A UDP and a TCP socket on one port: the kernel chooses it for the first, but for the second it
// may be in use.
std::pair<UniqueFd, UniqueFd> BothOnOnePort(Family family) {
  for (int attempt = 0;; ++attempt) {
    UniqueFd udp = Bound(Loopback(family, 0), SOCK_DGRAM);
    try {
      UniqueFd tcp = Bound(LocalAddress(udp), SOCK_STREAM);
      return {std::move(udp), std::move(tcp)};
    } catch (const std::system_error&) {
      if (attempt == 20) throw;
    }
  }
}

}  // namespace

SocketAddress FreeAddress(Family family) { return LocalAddress(BothOnOnePort(family).first); }

bool HasLoopback(Family family) {
  try {
    Bound(Loopback(family, 0), SOCK_DGRAM);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

FakeDnsServer::FakeDnsServer(Family family, Answer answer)
    : FakeDnsServer(BothOnOnePort(family), std::move(answer)) {}

FakeDnsServer::FakeDnsServer(const SocketAddress& address, Answer answer)
    : FakeDnsServer({Bound(address, SOCK_DGRAM), Bound(address, SOCK_STREAM)}, std::move(answer)) {}

FakeDnsServer::FakeDnsServer(std::pair<UniqueFd, UniqueFd> sockets, Answer answer)
    : answer_(std::move(answer)),
      address_(LocalAddress(sockets.first)),
      udp_(std::move(sockets.first)),
      tcp_(std::move(sockets.second)) {
  Check(listen(tcp_.get(), 16) == 0, "listen");
  thread_ = std::thread([this] { Run(); });
}

FakeDnsServer::~FakeDnsServer() {
  stopping_ = true;
  thread_.join();
}

void FakeDnsServer::Run() {
  while (!stopping_) {
    pollfd ready[] = {{udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}};
    poll(ready, 2, 20);
    if ((ready[0].revents & POLLIN) != 0) ServeUdp();
    if ((ready[1].revents & POLLIN) != 0) ServeTcp();
  }
}

void FakeDnsServer::ServeUdp() {
  DnsBytes bytes(65535);
  sockaddr_storage client{};
  socklen_t length = sizeof(client);
  const auto received = recvfrom(udp_.get(), bytes.data(), bytes.size(), 0,
                                 reinterpret_cast<sockaddr*>(&client), &length);
  if (received < 0) return;
  bytes.resize(static_cast<std::size_t>(received));
  for (const DnsBytes& reply : answer_({bytes, false, FromSockaddr(client).port, asked_++})) {
    sendto(udp_.get(), reply.data(), reply.size(), 0, reinterpret_cast<const sockaddr*>(&client),
           length);
  }
}

void FakeDnsServer::ServeTcp() {
  const UniqueFd fd(accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd) return;
  SetPatience(fd, kPatience);
  DnsBytes bytes(2);
  if (recv(fd.get(), bytes.data(), 2, MSG_WAITALL) != 2) return;
  bytes.resize(static_cast<std::size_t>(bytes[0] << 8 | bytes[1]));
  const auto size = static_cast<ssize_t>(bytes.size());
  if (recv(fd.get(), bytes.data(), bytes.size(), MSG_WAITALL) != size) return;
  for (const DnsBytes& reply : answer_({bytes, true, 0, asked_++})) {
    const DnsBytes framed = WithLength(reply);
    send(fd.get(), framed.data(), framed.size(), MSG_NOSIGNAL);
  }
}

DnsClient::DnsClient(const SocketAddress& forwarder, bool tcp) : tcp_(tcp) {
  sockaddr_storage storage{};
  const auto length = ToSockaddr(forwarder, storage);
  fd_.reset(socket(storage.ss_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  Check(static_cast<bool>(fd_), "socket");
  SetPatience(fd_, kPatience);
  Check(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&storage), length) == 0, "connect");
}

void DnsClient::Send(const DnsBytes& message) const {
  SendRaw(tcp_ ? WithLength(message) : message);
}

void DnsClient::SendRaw(const DnsBytes& bytes) const {
  const auto sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  Check(sent == static_cast<ssize_t>(bytes.size()), "send");
}

void DnsClient::ShutdownWrite() const { Check(shutdown(fd_.get(), SHUT_WR) == 0, "shutdown"); }

bool DnsClient::ReadExactly(std::uint8_t* out, std::size_t size) const {
  return recv(fd_.get(), out, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

std::optional<DnsBytes> DnsClient::Receive(std::chrono::milliseconds patience) const {
  SetPatience(fd_, patience);
  DnsBytes bytes(65535);
  if (tcp_) {
    std::uint8_t length[2];
    if (!ReadExactly(length, 2)) return std::nullopt;
    bytes.resize(static_cast<std::size_t>(length[0] << 8 | length[1]));
    if (!ReadExactly(bytes.data(), bytes.size())) return std::nullopt;
    return bytes;
  }
  const auto received = recv(fd_.get(), bytes.data(), bytes.size(), 0);
  if (received < 0) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(received));
  return bytes;
}

}  // namespace sluice::dns
