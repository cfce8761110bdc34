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

// A new connection, and the way of its first packet through nf_tables.
struct Seen {
  Tuple original;
  std::optional<Tuple> reply = {};     // nothing if it was dropped: conntrack has no entry then
  std::vector<TraceEvent> steps = {};  // empty without trace events

  bool dropped() const { return !reply; }
  bool redirected() const { return reply && reply->from != original.to; }
};

// Puts events together. A step in a table of kTableNames is the first one of a packet. The kernel
// sends the steps of a packet before conntrack's event, since that comes with the last hook. Pure;
// its memory is bounded: of packets whose end is never seen, the oldest are forgotten.
class Packets {
 public:
  // Returns a connection when this step drops it; not again for packets that are sent again, nor
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
  // False if it has been told already.
  bool Tell(const Tuple& tuple);

  std::map<std::uint32_t, Packet> packets_;  // by id
  std::map<Tuple, std::uint32_t> ids_;
  std::deque<std::uint32_t> order_;
  std::set<Tuple> told_;
  std::deque<Tuple> told_order_;
};

}  // namespace sluice::trace
