// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/socket_address.h"
#include "base/unique_fd.h"
#include "netns/namespace.h"
#include "test/netns/proxy_fixture.h"

// Connections that ask once, are answered, and are closed by the client: as many as a CPU can make.
// One thread and one event loop for each side, because the proxy is what is tested.
namespace sluice::testing_support {

// Answers each request with the same bytes and waits for the client's end, on several ports.
class EchoServer {
 public:
  // On free ports of all addresses of a family.
  EchoServer(const netns::Namespace& where, Family family, std::size_t ports = 1);
  ~EchoServer();
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;

  std::vector<std::uint16_t> ports() const;

 private:
  void Run();
  void AcceptAll(const Acceptor& listener);
  void Serve(int fd);

  std::vector<Acceptor> listeners_;
  std::vector<UniqueFd> connections_;  // indexed by descriptor
  UniqueFd epoll_;
  UniqueFd wake_;
  std::thread thread_;
};

class ShortConnections {
 public:
  // Makes connections from `where` to each of `to` in turn, `at_once` at a time, until `count` were
  // made. A slot whose connection failed is not used again, so that the test ends if its proxy is
  // gone.
  ShortConnections(const netns::Namespace& where, std::vector<SocketAddress> to,
                   std::size_t at_once, std::uint64_t count = UINT64_MAX);
  // Stops.
  ~ShortConnections();
  ShortConnections(const ShortConnections&) = delete;
  ShortConnections& operator=(const ShortConnections&) = delete;

  // Makes no new connections, and waits until the open ones are answered.
  void Stop();

  // Answered with the bytes sent.
  std::uint64_t served() const { return served_; }
  // Not connected at all (ECONNREFUSED).
  std::uint64_t refused() const { return refused_; }
  // Connected, and then not answered, or answered wrongly.
  std::uint64_t lost() const { return lost_; }
  // Whether nothing is left to do.
  bool done() const { return done_; }

 private:
  struct Place {
    UniqueFd fd;
    std::uint64_t number = 0;  // the number in its request
    bool asked = false;
  };

  void Run();
  void Open(Place& place);
  void OnEvents(Place& place, std::uint32_t events);
  // Ends the use of a slot.
  void Fail(Place& place, int error);
  void Close(Place& place);

  const std::vector<SocketAddress> to_;
  const std::uint64_t count_;
  UniqueFd epoll_;
  std::vector<Place> places_;
  std::uint64_t opened_ = 0;
  std::size_t open_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<bool> done_{false};
  std::atomic<std::uint64_t> served_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> lost_{0};
  std::thread thread_;
};

}  // namespace sluice::testing_support
