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
  Flow original;
  std::optional<Flow> reply = {};  // nothing if it was dropped: conntrack has no entry then
  std::vector<Step> steps = {};    // empty without trace events

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
  std::optional<Seen> Add(Step step);
  Seen Add(const NewConnection& connection);

  static constexpr std::size_t kMostPackets = 1024;
  static constexpr std::size_t kMostSteps = 256;

 private:
  struct Packet {
    Flow flow;
    std::vector<Step> steps;
  };
  void Forget(std::uint32_t id);
  // False if it has been told already.
  bool Tell(const Flow& flow);

  std::map<std::uint32_t, Packet> packets_;  // by id
  std::map<Flow, std::uint32_t> ids_;
  std::deque<std::uint32_t> order_;
  std::set<Flow> told_;
  std::deque<Flow> told_order_;
};

}  // namespace sluice::trace
