// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "trace/event.h"

namespace sluice::trace {

// A new connection, and the path of its first packet through nf_tables.
struct Seen {
  Tuple original;
  std::optional<Tuple> reply = {};     // nothing if it was dropped: conntrack has no entry then
  std::vector<TraceEvent> steps = {};  // empty without trace events

  bool dropped() const { return !reply; }
  bool redirected() const { return reply && reply->from != original.to; }
};

// Puts events together. A packet's first step is in a table of kTableNames. The kernel sends a
// packet's steps before conntrack's event, which comes at the last hook. Pure. Its memory is
// bounded: packets whose end never comes are forgotten, the oldest first.
class Packets {
 public:
  // Returns a connection if this step drops it. Not again for a packet that is sent again, nor
  // after conntrack's event, as when the packet comes back through lo.
  std::optional<Seen> Add(TraceEvent step);
  Seen Add(const NewConnection& connection);

  static constexpr std::size_t kMostPackets = 1024;
  static constexpr std::size_t kMostSteps = 256;

 private:
  struct Packet {
    Tuple tuple;
    std::vector<TraceEvent> steps;
  };
  void Forget(std::uint32_t id);
  // False if it was reported before.
  bool Tell(const Tuple& tuple);

  std::map<std::uint32_t, Packet> packets_;  // by id
  std::map<Tuple, std::uint32_t> ids_;
  std::deque<std::uint32_t> order_;
  std::set<Tuple> told_;
  std::deque<Tuple> told_order_;
};

}  // namespace sluice::trace
