// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>
#include <string>

#include "capture/backend.h"
#include "capture/capture_config.h"
#include "netns/route_socket.h"
#include "verify/check.h"
#include "verify/probe_exchange.h"
#include "verify/probe_plan.h"

// Judges the outcome of a probe.
namespace sluice::verify {

// Whether the outcome is what the configuration asks for, and a description of it: "arrived at the
// inbound listener, original destination 198.18.0.1:15002". Pure; never kOk if the original
// destination differs.
Check JudgeOutcome(const capture::CaptureConfig& config, const Probe& probe,
                   const Outcome& outcome);

// For a failed probe: what is wrong with the Sluice rules on its path; nothing if they are all in
// place. Otherwise like Diagnose.
std::optional<std::string> FindFault(const capture::CaptureConfig& config, const Probe& probe,
                                     const ProbeSite& site, netns::RouteSocket& socket,
                                     capture::Backend& backend);

// For a failed probe: the rule that should have matched, and what is there instead. Reads the
// installed rules and policy routing; throws sluice::Error.
std::string Diagnose(const capture::CaptureConfig& config, const Probe& probe,
                     const ProbeSite& site, netns::RouteSocket& socket, capture::Backend& backend);

}  // namespace sluice::verify
