// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <linux/capability.h>

#include <algorithm>

#include "doctor/checks.h"

namespace sluice::doctor {
namespace {

// From which percentage new connections are almost dropped ("nf_conntrack: table full"), and from
// which it is time to warn. A burst of an application takes a few percent of a default table.
constexpr std::uint64_t kFullPercent = 95;
constexpr std::uint64_t kFillingPercent = 80;

// Whether the feature that needs the module is wanted.
bool IsNeeded(const Module& module, const InForce& rules) {
  switch (module.needed_for) {
    case NeededFor::kEvery:
      return true;
    case NeededFor::kIpv6:
      return rules.Has(Family::kIpv6);
    case NeededFor::kTproxy:
      return rules.tproxy;
    case NeededFor::kTproxyIpv6:
      return rules.tproxy && rules.Has(Family::kIpv6);
    case NeededFor::kDns:
      return rules.dns;
    case NeededFor::kListening:
      return rules.listening;
  }
  return false;
}

std::vector<std::string> NamesOf(const BackendFacts& backend, const InForce& rules,
                                 Presence presence) {
  std::vector<std::string> out;
  for (const Module& module : backend.modules) {
    if (module.presence == presence && IsNeeded(module, rules)) out.push_back(module.name);
  }
  return out;
}

bool HasInBuild(const Facts& facts, std::string_view name) {
  return std::ranges::any_of(facts.backends, [name](const BackendFacts& backend) {
    return backend.name == name && backend.in_build;
  });
}

}  // namespace

void CheckCapabilities(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "capabilities";
  if (!facts.capabilities) return out.push_back(NotChecked(kName, facts.capabilities.why_not));
  const bool admin = facts.capabilities->Has(CAP_NET_ADMIN);
  const bool raw = facts.capabilities->Has(CAP_NET_RAW);
  if (!admin) {
    out.push_back(
        {.name = kName,
         .state = State::kProblem,
         .found = "CAP_NET_ADMIN is missing: a run like this one can neither write rules nor read "
                  "them",
         .remedy = "grant it (securityContext.capabilities.add: [NET_ADMIN, NET_RAW]), or ask from "
                   "the node with --network-namespace pid:N"});
  } else if (!raw) {
    const bool needed = rules.backend == "iptables" ||
                        (facts.chosen == "iptables" && HasInBuild(facts, "iptables"));
    out.push_back({.name = kName,
                   .state = needed ? State::kProblem : State::kNote,
                   .found = "CAP_NET_RAW is missing, which the backend iptables needs",
                   .remedy = needed ? "grant NET_RAW, or use --backend nftables"
                                    : "none is needed with the backend nftables"});
  } else {
    out.push_back({.name = kName, .found = "CAP_NET_ADMIN and CAP_NET_RAW are there"});
  }
}

void CheckModules(const Facts& facts, const InForce& rules, Findings& out) {
  // If no backend was chosen, one that works is enough.
  const auto can = [&rules](const BackendFacts& backend) {
    return backend.in_build && NamesOf(backend, rules, Presence::kAbsent).empty();
  };
  const bool some = std::ranges::any_of(facts.backends, can);
  for (const BackendFacts& backend : facts.backends) {
    Finding finding{.name = "kernel-" + backend.name};
    const auto absent = NamesOf(backend, rules, Presence::kAbsent);
    const auto unknown = NamesOf(backend, rules, Presence::kUnknown);
    const auto loadable = NamesOf(backend, rules, Presence::kLoadable);
    const bool installed = rules.installed && rules.backend == backend.name;
    const bool asked = facts.chosen == backend.name;
    if (!backend.in_build) {
      finding.state = asked ? State::kProblem : State::kNote;
      finding.found = backend.name + " is not in this build of sluice-init";
      finding.remedy = asked  ? "use the other backend, or a build that has this one"
                       : some ? "none is needed: the other backend is possible"
                              : "use a build that has it";
    } else if (installed) {
      // The kernel accepted the rules, whatever its modules are called.
      finding.found = "the kernel holds rules of Sluice";
    } else if (!absent.empty()) {
      finding.state = asked || !some ? State::kProblem : State::kNote;
      finding.found = "the kernel lacks " + Listed(absent);
      finding.remedy = some && !asked ? "none is needed: the other backend is possible"
                                      : "use a kernel with " + Listed(absent) +
                                            (some ? ", or the other backend" : "");
    } else if (!unknown.empty()) {
      finding = NotChecked(finding.name, Listed(unknown) +
                                             " are not loaded, and whether they can be is not seen "
                                             "from here (there is no /lib/modules of this kernel)");
      finding.remedy = "on the node: modprobe " + unknown.front() + " and so on";
    } else if (!loadable.empty()) {
      finding.found = "all is there; not loaded yet: " + Listed(loadable);
      finding.state = State::kNote;
      finding.remedy =
          "none is needed where the kernel may load modules; otherwise, on the node: modprobe -a";
      for (const std::string& name : loadable) finding.remedy += " " + name;
    } else {
      finding.found = "the kernel has all that it needs";
    }
    out.push_back(std::move(finding));
  }
}

void CheckLock(const Facts& facts, Findings& out) {
  constexpr const char* kName = "lock";
  if (facts.lock_holders.empty()) {
    return out.push_back({.name = kName, .found = "no process visible here holds the lock"});
  }
  for (const capture::LockHolder& holder : facts.lock_holders) {
    const std::string who = "process " + std::to_string(holder.pid) +
                            (holder.name.empty() ? "" : " (" + holder.name + ")");
    out.push_back({.name = kName,
                   .state = State::kWarning,
                   .found = who + " holds the lock of " + holder.lock + ": a run waits for it",
                   .remedy = "wait for it to end; if it hangs, find out why"});
  }
}

void CheckConntrack(const Facts& facts, Findings& out) {
  constexpr const char* kName = "conntrack";
  if (!facts.conntrack) return out.push_back(NotChecked(kName, facts.conntrack.why_not));
  const auto& [count, max] = *facts.conntrack;
  const std::string fill = std::to_string(count) + " of " + std::to_string(max) + " entries";
  const std::uint64_t percent = max == 0 ? 0 : count * 100 / max;  // 0: no limit
  if (percent < kFillingPercent) return out.push_back({.name = kName, .found = fill});
  const bool full = percent >= kFullPercent;
  out.push_back({.name = kName,
                 .state = full ? State::kProblem : State::kWarning,
                 .found = "the table is " + std::to_string(percent) + "% full (" + fill +
                          "): when it is, the kernel drops new connections",
                 .remedy = "on the node: raise net.netfilter.nf_conntrack_max, or find out who "
                           "makes so many connections (conntrack -L)"});
}

}  // namespace sluice::doctor
