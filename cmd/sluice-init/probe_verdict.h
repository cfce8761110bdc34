#pragma once

#include <string>

#include "cmd/sluice-init/check.h"
#include "cmd/sluice-init/probe_exchange.h"
#include "cmd/sluice-init/probe_plan.h"
#include "iptables/capture_config.h"
#include "netns/route_socket.h"

// What the outcome of a probe means.
namespace sluice::init {

// Whether it is what the configuration asks for, and what was seen, for people: "arrived at the
// inbound listener, original destination 198.18.0.1:15002". Pure; the status is never kOk when the
// original destination is another one.
Check Judge(const iptables::CaptureConfig& config, const Probe& probe, const Outcome& outcome);

// Of a probe that failed: the rule that should have matched, and what is in its place. Reads the
// rules and the policy routing that are installed; throws sluice::Error.
std::string Diagnose(const iptables::CaptureConfig& config, const Probe& probe,
                     const ProbeSite& site, netns::RouteSocket& socket);

}  // namespace sluice::init
