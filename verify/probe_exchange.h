// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "verify/probe_link.h"
#include "verify/probe_plan.h"
#include "verify/probe_sockets.h"

// Makes one connection of a Probe, with a random token, and finds out where it ends up.
namespace sluice::verify {

// Redirected packets arrive within microseconds. Long enough for a very busy machine, short enough
// for a waiting pod.
inline constexpr std::chrono::milliseconds kQuietTime{500};

struct Outcome {
  enum class Kind : std::uint8_t {
    kArrived,     // a listener got the token
    kUnanswered,  // a listener got it, but its answer did not come back (UDP)
    kLeft,        // the packet left the pod unchanged by the probe link
    kRefused,     // a reset, or an error of connect(2)
    kSilence,     // no trace of it within the time limit
    kImpossible,  // not tried: a capability or a route is missing
  };
  Kind kind = Kind::kSilence;
  // The listener that got it.
  Landing landing = Landing::kDirect;
  SocketAddress listener = {};
  Delivery arrival = {};
  // The client's address, as seen by the pod or from outside.
  SocketAddress client = {};
  std::string note = {};  // further details: "Connection refused"
};

// `listeners` are all those in place of the proxy, `direct` the one at the destination, if any.
// Returns as soon as the outcome is clear, at the latest after `limit`.
//
// Without a `link` nobody can see a packet leave: it counts as gone when none of our listeners got
// it within kQuietTime. It leaves through an interface of the pod with a hop limit of 1, so it gets
// no further than the first router. Probes with an outside client need a link.
Outcome Try(const Probe& probe, ProbeLink* link, const std::vector<Listener>& listeners,
            const Listener* direct, std::chrono::milliseconds limit);

}  // namespace sluice::verify
