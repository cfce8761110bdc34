// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/socket_address.h"
#include "test/support/in_namespace.h"

namespace sluice::testing_support {

enum class Transport : std::uint8_t { kTcp, kUdp };

struct ConnectOptions {
  Credentials who = {};
  Transport transport = Transport::kTcp;
  std::optional<IpAddress> source = {};
  std::chrono::milliseconds timeout{10'000};
};

// Makes one connection (or sends one datagram) from `from`, and returns where it landed: the
// listener's text, "closed" if it sent none, or "refused", "reset", "timeout" or "error:ERRNO". The
// words are those of the conformance probe.
std::string Connect(const netns::Namespace& from, const SocketAddress& to,
                    const ConnectOptions& options = {});

// A port that answers with a name.
struct NamedPort {
  std::uint16_t port = 0;
  std::string answer = "direct";
  Transport transport = Transport::kTcp;
  bool transparent = false;  // IP_TRANSPARENT, as TPROXY needs it
};

// Listens on ports of a namespace, on all addresses of both families, and answers every connection
// or datagram with the port's name. Ready when constructed; stops when destroyed.
class Listeners {
 public:
  // Throws sluice::Error if a port is in use.
  Listeners(const netns::Namespace& where, const std::vector<NamedPort>& ports);
  Listeners(Listeners&&) noexcept;
  Listeners& operator=(Listeners&&) = delete;
  ~Listeners();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::testing_support
