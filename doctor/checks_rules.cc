// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>

#include "capture/evaluate.h"
#include "doctor/checks.h"

namespace sluice::doctor {
namespace {

// For queries: a user id that is unlikely to be in use.
constexpr std::uint32_t kSomeApplication = 54321;

enum class Query : std::uint8_t { kCaptured, kPasses, kFamilyNotCaptured };

Query Ask(const InForce& rules, const IpAddress& server) {
  if (!rules.Has(server.family())) return Query::kFamilyNotCaptured;
  for (const capture::Protocol protocol : {capture::Protocol::kUdp, capture::Protocol::kTcp}) {
    capture::Packet packet{.source = server,
                           .destination = server,
                           .protocol = protocol,
                           .destination_port = 53,
                           .out_interface = server.IsLoopback() ? "lo" : "eth0",
                           .uid = kSomeApplication,
                           .gid = kSomeApplication};
    const auto evaluation =
        capture::Evaluate(rules.rules.family(server.family()), capture::Hook::kOutput, packet);
    if (!std::holds_alternative<capture::RedirectedTo>(evaluation.verdict)) return Query::kPasses;
  }
  return Query::kCaptured;
}

}  // namespace

void CheckRules(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "rules";
  if (rules.installed) {
    std::vector<std::string> where;
    for (const Destination& destination : rules.destinations) {
      where.push_back(destination.ToString());
    }
    if (where.empty()) {
      return out.push_back({.name = kName,
                            .state = State::kProblem,
                            .found = "rules of Sluice are installed (" + rules.backend +
                                     "), and none of them leads to the proxy",
                            .remedy = "run sluice-init again; -b and -i say what to capture"});
    }
    return out.push_back(
        {.name = kName,
         .found = "installed (" + rules.backend + "); they lead to " + Listed(where)});
  }
  std::vector<std::string> unseen;
  for (const BackendFacts& backend : facts.backends) {
    if (!backend.ours) unseen.push_back(backend.name + ": " + backend.ours.why_not);
  }
  if (!unseen.empty()) {
    std::string why = "no rules of Sluice are seen, and not everything can be seen";
    for (const std::string& one : unseen) why += "; " + one;
    const bool all_in_build = std::ranges::all_of(facts.backends, &BackendFacts::in_build);
    return out.push_back(NotChecked(kName, why,
                                    all_in_build
                                        ? "run this with CAP_NET_ADMIN and CAP_NET_RAW"
                                        : "run a build of sluice-init that has both backends"));
  }
  if (rules.any()) {
    return out.push_back({.name = kName,
                          .state = State::kNote,
                          .found = "not installed yet: the checks are about what these options "
                                   "would install",
                          .remedy = "run sluice-init with these options"});
  }
  out.push_back({.name = kName,
                 .state = State::kProblem,
                 .found = "no rules of Sluice are installed: nothing is captured",
                 .remedy = "run sluice-init, such as: sluice-init -i '*' -b '*'; to check what is "
                           "needed for it before, give its options to doctor"});
}

void CheckBackendsInUse(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "other-backends";
  const std::size_t before = out.size();
  std::vector<std::string> ours;
  for (const BackendFacts& backend : facts.backends) {
    if (backend.ours && HasRules(*backend.ours)) ours.push_back(backend.name);
  }
  if (ours.size() > 1) {
    out.push_back({.name = kName,
                   .state = State::kProblem,
                   .found = "rules of Sluice are installed with " + Listed(ours) +
                            " at once: those of iptables are asked first, and what they say need "
                            "not be what the last run said",
                   .remedy = "run sluice-init with the configuration again: it removes those of "
                             "the other backend"});
  } else if (!ours.empty() && !facts.chosen.empty() && ours.front() != facts.chosen) {
    out.push_back({.name = kName,
                   .state = State::kNote,
                   .found = "the rules are those of " + ours.front() +
                            ", and the options ask for " + facts.chosen,
                   .remedy = "a run with these options replaces them"});
  }
  for (const BackendFacts& backend : facts.backends) {
    for (const std::string& found : backend.captures_of_others) {
      out.push_back({.name = kName,
                     .state = State::kWarning,
                     .found = found + " (" + backend.name + "), not Sluice's, captures as well",
                     .remedy = "remove it with what made it"});
    }
    if (backend.others.empty()) continue;
    const bool apart = !ours.empty() && std::ranges::find(ours, backend.name) == ours.end();
    out.push_back({.name = kName,
                   .state = State::kNote,
                   .found = "others have rules of " + backend.name + ": " + Listed(backend.others) +
                            (apart ? ", while Sluice's are those of " + Listed(ours) : ""),
                   .remedy = "none is needed unless foreign-rules says so"});
  }
  if (out.size() > before) return;
  for (const BackendFacts& backend : facts.backends) {
    if (!backend.ours) return out.push_back(NotChecked(kName, backend.ours.why_not));
  }
  out.push_back(
      {.name = kName,
       .found = rules.installed
                    ? "there are no other rules here, and Sluice's are those of " + rules.backend
                    : "there are no rules here"});
}

void CheckForeignRules(const Facts& facts, Findings& out) {
  constexpr const char* kName = "foreign-rules";
  const std::size_t before = out.size();
  std::string unseen;
  for (const BackendFacts& backend : facts.backends) {
    if (!backend.ours && unseen.empty()) unseen = backend.ours.why_not;
    for (const capture::Obstruction& found : backend.obstructions) {
      out.push_back({.name = kName,
                     .state = found.certain ? State::kProblem : State::kWarning,
                     .found = found.ToString(),
                     .remedy = found.behind
                                   ? "let it accept what is redirected to the proxy's ports"
                               : found.policy ? "accept what is to be captured in that chain"
                                              : "remove that rule, or move it after Sluice's"});
    }
  }
  if (out.size() > before) return;
  if (!unseen.empty()) return out.push_back(NotChecked(kName, unseen));
  out.push_back({.name = kName, .found = "no visible rule decides before Sluice's"});
}

void CheckResolvers(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "resolv-conf";
  if (rules.unknown()) return out.push_back(NotChecked(kName, rules.unseen));
  if (!rules.dns) return out.push_back({.name = kName, .found = "DNS is not captured"});
  if (!facts.resolvers) return out.push_back(NotChecked(kName, facts.resolvers.why_not));
  std::vector<IpAddress> servers;
  for (const Nameserver& server : facts.resolvers->nameservers) {
    servers.push_back(server.address.ip);
  }
  if (servers.empty()) {
    // resolv.conf(5): the name server on the local machine.
    out.push_back({.name = kName,
                   .state = State::kWarning,
                   .found = facts.resolv_conf + " names no resolver: queries go to 127.0.0.1",
                   .remedy = "name one there"});
    return;
  }
  const std::size_t before = out.size();
  for (const IpAddress& server : servers) {
    const Query answer = Ask(rules, server);
    if (answer == Query::kCaptured) continue;
    std::string found = "the resolver " + server.ToString() + " of " + facts.resolv_conf;
    if (answer == Query::kFamilyNotCaptured) {
      found += " has an address of a family that is not captured";
    } else {
      found += " is not in the DNS rules: queries to it go past the proxy";
    }
    out.push_back({.name = kName,
                   .state = State::kProblem,
                   .found = std::move(found),
                   .remedy = "run sluice-init again, which reads that file with --redirect-dns, or "
                             "capture DNS to any resolver with --capture-all-dns"});
  }
  if (out.size() > before) return;
  out.push_back(
      {.name = kName,
       .found = "queries to " +
                (servers.size() == 1 ? std::string("the resolver")
                                     : "all " + std::to_string(servers.size()) + " resolvers") +
                " of " + facts.resolv_conf + " are captured"});
}

}  // namespace sluice::doctor
