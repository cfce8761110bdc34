// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "capture/explain/walk.h"
#include "trace/packets.h"

namespace sluice::trace {

enum class KnownBy : std::uint8_t {
  kNothing,
  kTrace,       // from nf_tables' trace events of this packet
  kExplanation  // the installed rules lead to what conntrack reports
};

struct Attribution {
  capture::explain::Landing landing = capture::explain::Landing::kUnknown;
  std::uint16_t port = 0;  // of the listener; 0 if not captured
  // The rule that decided; nothing if none did or it is not known.
  std::optional<capture::explain::PathEntry> decided = {};
  std::vector<capture::explain::PathEntry> path = {};  // rules that matched, in order
  KnownBy known_by = KnownBy::kNothing;
  std::vector<std::string> notes = {};
  // The rules do not explain it: they may have changed since the packet.
  bool stale = false;
};

// Finds where a connection has landed, and by which rule. What the kernel reports counts more than
// what the rules make likely. Pure.
class Attributor {
 public:
  // The model must outlive this. `port_of`: of the listener for a landing; 0 for none.
  Attributor(const capture::explain::Model& model,
             std::function<std::uint16_t(capture::explain::Landing)> port_of);

  // `explanation` is of the same connection; its sender may be known only in part. `lands_here`:
  // answers come from an address of this namespace.
  Attribution Of(const Seen& seen, const capture::explain::Explanation& explanation,
                 bool lands_here) const;

 private:
  // What the trace events report.
  struct Traced {
    std::vector<capture::explain::PathEntry> path = {};
    std::optional<capture::explain::PathEntry> dropped = {};
    std::optional<capture::explain::PathEntry> redirected = {};
    std::optional<capture::explain::PathEntry> tproxied = {};
    std::optional<capture::explain::PathEntry> let_go = {};
    bool refused = false;
    bool unknown_rules = false;
    bool any = false;
  };
  Traced Follow(const Seen& seen) const;
  capture::explain::Landing ListenerAt(std::uint16_t port) const;

  using Key = std::tuple<Family, std::string, std::string, std::uint64_t>;
  std::map<Key, capture::explain::PathEntry> rules_;  // of nf_tables; by handle, 0 for the chain
  std::function<std::uint16_t(capture::explain::Landing)> port_of_;
};

}  // namespace sluice::trace
