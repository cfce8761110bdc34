// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "trace/packets.h"

#include <linux/netfilter.h>

#include <algorithm>
#include <utility>

namespace sluice::trace {

void Packets::Forget(std::uint32_t id) {
  const auto found = packets_.find(id);
  if (found == packets_.end()) return;
  const auto of_flow = ids_.find(found->second.tuple);
  if (of_flow != ids_.end() && of_flow->second == id) ids_.erase(of_flow);
  packets_.erase(found);
}

std::optional<Seen> Packets::Add(TraceEvent step) {
  const std::uint32_t id = step.id;
  if (step.table.starts_with(kTableNames)) {
    if (!step.tuple) return {};
    Forget(id);
    packets_[id].tuple = *step.tuple;
    ids_[*step.tuple] = id;
    order_.push_back(id);
    while (order_.size() > kMostPackets) {
      const std::uint32_t oldest = order_.front();
      order_.pop_front();
      // The id may be a later packet's.
      if (std::ranges::find(order_, oldest) == order_.end()) Forget(oldest);
    }
  }
  const auto found = packets_.find(id);
  if (found == packets_.end()) return {};
  Packet& packet = found->second;
  const bool drops =
      (step.type == TraceEvent::Type::kRule || step.type == TraceEvent::Type::kPolicy) &&
      step.verdict && *step.verdict >= 0 && (*step.verdict & 0xff) == NF_DROP;
  if (packet.steps.size() < kMostSteps) packet.steps.push_back(std::move(step));
  if (!drops) return {};
  Seen out{.original = packet.tuple, .steps = std::move(packet.steps)};
  Forget(id);
  if (!Tell(out.original)) return {};
  return out;
}

bool Packets::Tell(const Tuple& tuple) {
  if (!told_.insert(tuple).second) return false;
  told_order_.push_back(tuple);
  if (told_order_.size() > kMostPackets) {
    told_.erase(told_order_.front());
    told_order_.pop_front();
  }
  return true;
}

Seen Packets::Add(const NewConnection& connection) {
  Seen out{.original = connection.original, .reply = connection.reply};
  const auto id = ids_.find(connection.original);
  if (id == ids_.end()) return out;
  const std::uint32_t number = id->second;
  out.steps = std::move(packets_.at(number).steps);
  Forget(number);
  Tell(out.original);
  return out;
}

}  // namespace sluice::trace
