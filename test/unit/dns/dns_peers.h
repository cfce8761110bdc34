// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/socket_address.h"
#include "base/unique_fd.h"
#include "dns/message.h"

// The two sides of a forwarder, on loopback by default: a server whose answers the test chooses,
// and clients. No wait is longer than kPatience.
namespace sluice::dns {

inline constexpr std::chrono::seconds kPatience{60};

// 127.0.0.1 or ::1 with a port that was free for UDP and TCP a moment ago.
SocketAddress FreeAddress(Family family);
// False when this machine has no such loopback address.
bool HasLoopback(Family family);

// A query that a server received.
struct SeenQuery {
  DnsBytes bytes;
  bool tcp = false;
  std::uint16_t client_port = 0;
  int number = 0;  // from 0

  std::uint16_t id() const { return static_cast<std::uint16_t>(bytes.at(0) << 8 | bytes.at(1)); }
};

// A name server on its own thread, which calls `answer` and sends the messages that this returns;
// none means no answer.
class FakeDnsServer {
 public:
  using Answer = std::function<std::vector<DnsBytes>(const SeenQuery&)>;

  FakeDnsServer(Family family, Answer answer);
  // In the network namespace of the calling thread.
  FakeDnsServer(const SocketAddress& address, Answer answer);
  ~FakeDnsServer();

  SocketAddress address() const { return address_; }
  int asked() const { return asked_; }

 private:
  FakeDnsServer(std::pair<UniqueFd, UniqueFd> sockets, Answer answer);
  void Run();
  void ServeUdp();
  void ServeTcp();

  Answer answer_;
  SocketAddress address_;
  UniqueFd udp_;
  UniqueFd tcp_;
  std::atomic<int> asked_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

// A client socket, connected to the forwarder.
class DnsClient {
 public:
  DnsClient(const SocketAddress& forwarder, bool tcp);

  void Send(const DnsBytes& message) const;  // with its length prefix over TCP
  void SendRaw(const DnsBytes& bytes) const;
  void ShutdownWrite() const;
  // The next message; nothing at the end of a connection, or after `patience`.
  std::optional<DnsBytes> Receive(std::chrono::milliseconds patience = kPatience) const;

 private:
  bool ReadExactly(std::uint8_t* out, std::size_t size) const;

  bool tcp_;
  UniqueFd fd_;
};

}  // namespace sluice::dns
