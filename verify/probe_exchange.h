// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "verify/probe_link.h"
#include "verify/probe_plan.h"
#include "verify/probe_sockets.h"

// Makes one connection of a Probe, with a random token in it, and sees where that comes out.
namespace sluice::verify {

// What is redirected arrives within microseconds. Long enough for a machine that is very busy,
// short enough for a pod that waits for it.
inline constexpr std::chrono::milliseconds kQuietTime{500};

struct Outcome {
  enum class Kind : std::uint8_t {
    kArrived,     // a listener got the token
    kUnanswered,  // a listener got it, and its answer did not come back (UDP)
    kLeft,        // the packet left the pod by the probe link, as it was sent
    kRefused,     // a reset, or an error of connect(2)
    kSilence,     // nothing of it was seen before the time was over
    kImpossible,  // not tried: a capability is missing, or a route
  };
  Kind kind = Kind::kSilence;
  // Of the listener that got it.
  Landing landing = Landing::kDirect;
  SocketAddress listener = {};
  Delivery arrival = {};
  // The client as the pod or the outside knows it.
  SocketAddress client = {};
  std::string note = {};  // what more there is to say: "Connection refused"
};

// `listeners` are all that there are in the proxy's place, `direct` the one at the destination, if
// any. Ends as soon as it is clear what happened, at the latest after `limit`.
//
// Without a `link` nobody sees a packet leave: it has when no listener of ours got it within
// kQuietTime. It goes by an interface of the pod, with a hop limit of 1, so no further than the
// first router. The probe must not be a client's from outside then.
Outcome Try(const Probe& probe, ProbeLink* link, const std::vector<Listener>& listeners,
            const Listener* direct, std::chrono::milliseconds limit);

}  // namespace sluice::verify
