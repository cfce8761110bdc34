// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/ip_address.h"
#include "base/socket_address.h"
#include "base/unique_fd.h"
#include "proxy/config.h"

// The system calls on sockets that are not the data path itself. None of them throws but
// MakeListener and LocalAddresses; all of them may be called from any thread.
namespace sluice::proxy {

// Where a connection was going before the kernel redirected it (SO_ORIGINAL_DST of conntrack); none
// when conntrack does not know it or is not there.
std::optional<SocketAddress> OriginalDestination(int fd, Family family);

// getsockname(2); 0.0.0.0:0 on failure.
SocketAddress LocalAddress(int fd);

// The pending error of a socket (SO_ERROR), which reading clears. 0 when there is none.
int PendingError(int fd);

// What was written to a TCP socket and the peer has not confirmed yet, a FIN included (SIOCOUTQ).
// 0 on failure.
std::uint32_t UnconfirmedBytes(int fd);

// TCP_NODELAY.
void SendAtOnce(int fd);

// Urgent data is read in its place among the other bytes (SO_OOBINLINE), as RFC 6093 wants it; by
// default recv(2) leaves it out.
void ReadUrgentInline(int fd);

// Probes a peer that has been silent for `idle`, so that dead peers are found and NAT entries live.
void KeepAlive(int fd, std::chrono::seconds idle);

// From where a connection is made. The port is chosen at connect(2), so that the ports of one
// source are counted per destination.
struct Source {
  IpAddress address;
  // The port is chosen at bind(2) instead: there the kernel takes one at random, of the odd ones as
  // long as it can, where connect(2) takes even ones, one after the other.
  bool port_at_bind = false;
  // The address is another host's (IP_TRANSPARENT), and the packets get the mark by which the rules
  // of TPROXY mode know them, so that answers come back to the proxy. Needs CAP_NET_ADMIN.
  bool transparent = false;
  std::uint32_t mark = 0;
};

// A connecting, non-blocking socket.
struct Connecting {
  UniqueFd fd;
  // Why there is none; 0 while the connection is under way.
  int error = 0;
  // The system call that failed.
  enum class Call : std::uint8_t { kSocket, kBind, kConnect } call = Call::kSocket;
};
Connecting StartConnect(const SocketAddress& destination, const std::optional<Source>& source);

// For connections from a client's own address (Source::transparent), StartConnect takes ports from
// outside of net.ipv4.ip_local_port_range. Returns that range, both ends included, when it leaves
// too few: then the kernel chooses a port, which the client may have given to another connection.
std::optional<std::pair<std::uint32_t, std::uint32_t>> RangeWithoutPortsBeside();

// A listening socket on all addresses of a family, with SO_REUSEPORT: one per worker shares a port.
// Accepted sockets inherit its options. `transparent`: it also takes connections to addresses that
// are not this host's, as TPROXY hands them over. Throws sluice::Error; returns none when the
// kernel does not have the family.
std::optional<UniqueFd> MakeListener(Family family, std::uint16_t port, bool transparent);

// Sets what MakeListener sets on a listening socket of another proxy, which may be of another
// version or mode. Throws sluice::Error.
void AdoptListener(int fd, Family family, bool transparent);

// Whether accept4(2) failed because of a single connection, which is off the queue then (accept(2):
// network errors are handed on). After any other error the connection is still there: descriptors
// or memory are short, or a security module forbids it; the listener stays readable, and to try
// again at once would be to spin.
bool IsOfOneConnection(int accept_error);

// Makes a listening socket refuse new connection attempts, while handshakes that have begun come to
// their end: what is then accepted until the queue is empty loses nothing at close(2), which would
// reset what is in the queue. Needs no privilege (Linux 5.7).
void RefuseNewConnections(int listener_fd);

// All addresses of this network namespace (getifaddrs(3)). Throws sluice::Error.
std::vector<IpAddress> LocalAddresses();

}  // namespace sluice::proxy
