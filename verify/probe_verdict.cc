// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/probe_verdict.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "capture/capture_rules.h"
#include "capture/evaluate.h"
#include "capture/rule_text.h"
#include "netns/network_steps.h"

namespace sluice::verify {
namespace {

using capture::CaptureConfig;
using capture::Matched;

std::string Describe(Landing landing) {
  switch (landing) {
    case Landing::kOutbound:
      return "the outbound listener";
    case Landing::kInbound:
      return "the inbound listener";
    case Landing::kDns:
      return "the DNS listener";
    case Landing::kDirect:
      return "its destination";
    case Landing::kOutside:
      return "the network outside";
    case Landing::kRefused:
      return "nobody";
  }
  return {};
}

std::string Route(const Probe& probe, const Outcome& outcome) {
  const std::string from = outcome.client.port == 0 ? "a connection" : outcome.client.ToString();
  return from + " to " + probe.destination.ToString() + " ";
}

// What was seen, right or wrong.
std::string Seen(const Outcome& outcome) {
  const std::string note = outcome.note.empty() ? "" : " (" + outcome.note + ")";
  switch (outcome.kind) {
    case Outcome::Kind::kArrived: {
      std::string out =
          "arrived at " + Describe(outcome.landing) + " " + outcome.listener.ToString();
      if (outcome.arrival.original) {
        out += ", original destination " + outcome.arrival.original->ToString();
      }
      return out + note;
    }
    case Outcome::Kind::kUnanswered:
      return "arrived at " + Describe(outcome.landing) + " " + outcome.listener.ToString() +
             ", but its answer did not come back as the resolver's";
    case Outcome::Kind::kLeft:
      return "left the pod unchanged" + note;
    case Outcome::Kind::kRefused:
      return "was refused" + note;
    case Outcome::Kind::kSilence:
      return "got no answer, and was seen nowhere";
    case Outcome::Kind::kImpossible:
      return outcome.note;
  }
  return {};
}

// Whether the listener knows the original destination of the connection, as the proxy must.
bool OriginalDestinationIsRight(const capture::CaptureConfig& config, const Probe& probe,
                                const Delivery& arrival) {
  // The answer's way back has shown it (kUnanswered).
  if (probe.protocol == capture::Protocol::kUdp) return true;
  const bool kept = arrival.local == probe.destination;
  if (probe.expected == Landing::kDirect) {
    return kept && (!arrival.original || *arrival.original == probe.destination);
  }
  const bool tproxy = config.mode == capture::InterceptionMode::kTproxy && probe.client;
  return tproxy ? kept : arrival.original == probe.destination;
}

// The installed rules of a chain; for a built-in chain, only Sluice's.
std::optional<std::vector<std::optional<capture::Rule>>> Installed(
    const capture::InstalledTable& state, const std::string& chain) {
  std::vector<std::optional<capture::Rule>> out;
  if (!capture::IsOwnedChain(chain)) {
    for (const capture::InstalledJump& jump : state.jumps) {
      if (jump.chain == chain) out.push_back(jump.rule.rule);
    }
    return out;
  }
  const auto found = std::ranges::find(state.chains, chain, &capture::InstalledChain::name);
  if (found == state.chains.end()) return std::nullopt;
  for (const auto& rule : found->rules) out.push_back(rule.rule);
  return out;
}

std::string ToText(const std::optional<capture::Rule>& rule) {
  return rule ? "\"" + capture::ToText(*rule) + "\"" : "one that is not Sluice's";
}

const capture::Chain* WantedChain(const capture::FamilyRules& wanted,
                                  const capture::Matched& matched) {
  const auto& chains = wanted.table(matched.table).chains;
  const auto found = std::ranges::find(chains, matched.chain, &capture::Chain::name);
  return found == chains.end() ? nullptr : &*found;
}

// "rule 1 of nat PREROUTING", if that comes before Sluice's there.
std::optional<std::string> RuleBeforeOurs(capture::Backend& backend, Family family,
                                          const capture::Matched& matched) {
  const auto state = backend.Read(family, matched.table);
  const auto first = std::ranges::find(state.jumps, matched.chain, &capture::InstalledJump::chain);
  if (first == state.jumps.end() || first->position == 0) return std::nullopt;
  const std::string count = first->position == 1 ? "" : "s 1 to " + std::to_string(first->position);
  return "rule" + (count.empty() ? " 1" : count) + " of " + std::string(Name(matched.table)) + " " +
         matched.chain;
}

// What is wrong with the path up to and including `matched`; nothing if it is correct.
std::optional<std::string> Fault(capture::Backend& backend, const capture::FamilyRules& wanted,
                                 const capture::Matched& matched) {
  const auto state = backend.Read(wanted.family, matched.table);
  const auto rules = Installed(state, matched.chain);
  const std::string should = "the rule that should have matched, " + matched.ToString() + ", is ";
  if (!rules) return should + "missing, with all of its chain";
  const std::optional<capture::Rule> rule = matched.rule;
  const bool there = std::ranges::find(*rules, rule) != rules->end();
  const capture::Chain* chain = WantedChain(wanted, matched);
  std::string instead;
  if (chain != nullptr) {
    // The rules that a packet meets up to there.
    for (std::size_t i = 0; i <= matched.index && instead.empty(); ++i) {
      if (i >= rules->size()) {
        instead = ": the chain ends after rule " + std::to_string(i);
      } else if ((*rules)[i] != chain->rules[i]) {
        instead = ": rule " + std::to_string(i + 1) + " is " + ToText((*rules)[i]);
      }
    }
  }
  if (!there) return should + "missing" + instead;
  if (!instead.empty()) return should + "not in its place" + instead;
  return std::nullopt;
}

}  // namespace

std::string_view Name(CheckStatus status) {
  switch (status) {
    case CheckStatus::kOk:
      return "ok";
    case CheckStatus::kFailed:
      return "failed";
    case CheckStatus::kNotChecked:
      return "not checked";
  }
  return {};
}

std::string Summary(const std::vector<Check>& checks) {
  const auto count = [&](CheckStatus status) {
    return std::ranges::count(checks, status, &Check::status);
  };
  std::string out = std::to_string(count(CheckStatus::kOk)) + " checks passed";
  if (const auto failed = count(CheckStatus::kFailed); failed != 0) {
    out += ", " + std::to_string(failed) + " failed";
  }
  if (const auto left = count(CheckStatus::kNotChecked); left != 0) {
    out += ", " + std::to_string(left) + " not checked";
  }
  return out;
}

Check JudgeOutcome(const capture::CaptureConfig& config, const Probe& probe,
                   const Outcome& outcome) {
  Check check{.family = probe.family, .path = probe.path, .detail = Seen(outcome)};
  if (outcome.kind == Outcome::Kind::kImpossible) {
    check.status = CheckStatus::kNotChecked;
    return check;
  }
  check.detail = Route(probe, outcome) + check.detail;
  bool right = false;
  if (probe.expected == Landing::kOutside) {
    right = outcome.kind == Outcome::Kind::kLeft;
  } else if (probe.expected == Landing::kRefused) {
    right = outcome.kind == Outcome::Kind::kRefused;
  } else if (outcome.kind == Outcome::Kind::kArrived && outcome.landing == probe.expected) {
    right = OriginalDestinationIsRight(config, probe, outcome.arrival);
    if (!right) {
      check.detail += ", accepted as " + outcome.arrival.local.ToString() +
                      ": where it was going cannot be told";
    }
  }
  if (!right) {
    check.status = CheckStatus::kFailed;
    check.detail += probe.expected == Landing::kRefused
                        ? "; it should have been refused, since nobody listens there"
                        : "; it should have come to " + Describe(probe.expected);
  }
  return check;
}

namespace {

capture::Evaluation EvaluateFirst(const capture::FamilyRules& wanted, const Probe& probe,
                                  const ProbeSite& site) {
  const ProbePacket packet = PacketOf(probe, site);
  return capture::Evaluate(wanted, packet.hook, packet.packet);
}

}  // namespace

std::optional<std::string> FindFault(const capture::CaptureConfig& config, const Probe& probe,
                                     const ProbeSite& site, netns::RouteSocket& socket,
                                     capture::Backend& backend) {
  const capture::RuleSet rules = backend.Compile(capture::BuildRules(config));
  const capture::FamilyRules& wanted = rules.family(probe.family);
  const auto evaluation = EvaluateFirst(wanted, probe, site);
  try {
    for (const capture::Matched& matched : evaluation.path) {
      if (const auto fault = Fault(backend, wanted, matched)) return *fault;
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kPrivilege) throw;
    const std::string should = evaluation.path.empty() ? "no Sluice rule should have matched"
                                                       : "the rule that should have matched is " +
                                                             evaluation.path.back().ToString();
    return should + "; what is in its place cannot be read without CAP_NET_ADMIN and CAP_NET_RAW";
  }
  // A mark is useless without its route.
  netns::NetworkState network(socket);
  netns::PolicyRoutingStep routing(network, probe.family, capture::BuildPolicyRouting(config));
  if (routing.Differs()) return routing.Name() + " is not in place";
  return std::nullopt;
}

std::string Diagnose(const capture::CaptureConfig& config, const Probe& probe,
                     const ProbeSite& site, netns::RouteSocket& socket, capture::Backend& backend) {
  if (auto fault = FindFault(config, probe, site, socket, backend)) return *std::move(fault);
  const capture::RuleSet rules = backend.Compile(capture::BuildRules(config));
  const auto evaluation = EvaluateFirst(rules.family(probe.family), probe, site);
  if (evaluation.path.empty()) return "no Sluice rule should have matched";
  std::string out = "the rule that should have matched, " + evaluation.path.back().ToString() +
                    ", is in place: look for one that is not Sluice's";
  for (const capture::Matched& matched : evaluation.path) {
    if (capture::IsOwnedChain(matched.chain)) continue;
    const auto before = RuleBeforeOurs(backend, probe.family, matched);
    if (before) out += ", such as " + *before;
  }
  return out;
}

}  // namespace sluice::verify
