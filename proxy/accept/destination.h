// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/ip_address.h"
#include "base/socket_address.h"

namespace sluice::proxy {

// What the kernel tells about an accepted connection.
struct Arrival {
  // Where the client wanted to go, before the redirect; none when the kernel knows of no redirect.
  std::optional<SocketAddress> original;
  // The local address of the accepted socket.
  SocketAddress accepted_on;
};

enum class Admission : std::uint8_t {
  kRelay,
  kNotRedirected,  // the client connected to the proxy itself
  kLoop,           // relaying would connect the proxy to itself
};

// Whether a connection may be relayed. `own_ports` are the ports on which this process listens,
// `local_addresses` the addresses of this network namespace; loopback and unspecified addresses are
// local whether listed or not.
//
// A connection to ourselves that was relayed would come back as a new connection to ourselves,
// until no descriptor is left: one connection to 127.0.0.1:15001 made a proxy without this check
// open 8,002 sockets. The same port on another host's address is somebody else's, and is relayed.
Admission AdmissionOf(const Arrival& arrival, std::span<const std::uint16_t> own_ports,
                      std::span<const IpAddress> local_addresses);

// True when AdmissionOf has to be asked with complete information. False: the answer is kRelay
// whatever the local addresses are, so that the usual connection costs no system call to find out.
bool NeedsJudgement(const std::optional<SocketAddress>& original,
                    std::span<const std::uint16_t> own_ports);

}  // namespace sluice::proxy
