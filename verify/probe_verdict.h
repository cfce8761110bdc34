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

// What the outcome of a probe means.
namespace sluice::verify {

// Whether it is what the configuration asks for, and what was seen, for people: "arrived at the
// inbound listener, original destination 198.18.0.1:15002". Pure; the status is never kOk when the
// original destination is another one.
Check JudgeOutcome(const capture::CaptureConfig& config, const Probe& probe,
                   const Outcome& outcome);

// Of a probe that failed: what is wrong with what is ours on its way; nothing when all of that is
// in place. As Diagnose otherwise.
std::optional<std::string> FindFault(const capture::CaptureConfig& config, const Probe& probe,
                                     const ProbeSite& site, netns::RouteSocket& socket,
                                     capture::Backend& backend);

// Of a probe that failed: the rule that should have matched, and what is in its place. Reads the
// rules and the policy routing that are installed; throws sluice::Error.
std::string Diagnose(const capture::CaptureConfig& config, const Probe& probe,
                     const ProbeSite& site, netns::RouteSocket& socket, capture::Backend& backend);

}  // namespace sluice::verify
