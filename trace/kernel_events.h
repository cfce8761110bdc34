// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ip_address.h"
#include "base/unique_fd.h"
#include "trace/event.h"

// The sockets of a trace, in the network namespace of the calling thread. All need CAP_NET_ADMIN,
// and nothing else. They throw sluice::Error.
namespace sluice::trace {

// Events of conntrack and of nf_tables, in the order in which the kernel sends them.
class EventSocket {
 public:
  // Subscribes. Conntrack sends events of connections that begin after this.
  EventSocket();

  int fd() const { return socket_.get(); }
  using Event = std::variant<NewConnection, TraceEvent>;
  // The events of one message that has arrived; false if there is none.
  bool Receive(std::vector<Event>& out);
  // How often the kernel had more events than the socket's buffer holds. The number of lost events
  // is not known.
  std::uint64_t overruns() const { return overruns_; }

 private:
  UniqueFd socket_;
  std::vector<std::uint8_t> buffer_;
  std::uint64_t overruns_ = 0;
};

// A table that makes nf_tables send trace events for the first packet of each connection, and makes
// conntrack track connections. Its rules stand at -310 for TCP, before all of Sluice's, and at -199
// for UDP, after conntrack. It belongs to the socket (NFT_TABLE_F_OWNER, Linux 5.12): the kernel
// removes it when this is destroyed or the process ends, and other programs cannot change it.
class TraceTable {
 public:
  // Throws Error(kKernelFeature) if the kernel cannot.
  explicit TraceTable(Family family);
  const std::string& name() const { return name_; }

 private:
  UniqueFd socket_;
  std::string name_;
};

// Finds the socket that sent a packet (NETLINK_SOCK_DIAG).
class SocketLookup {
 public:
  SocketLookup();
  // `own_source`: the source is an address of this namespace. Nothing if there is no such socket,
  // or the kernel cannot tell (a module: tcp_diag, udp_diag).
  std::optional<SocketFound> Sender(const Tuple& tuple, bool own_source);

 private:
  UniqueFd socket_;
  std::uint32_t sequence_ = 0;
  std::array<std::uint8_t, 4096> buffer_{};
};

}  // namespace sluice::trace
