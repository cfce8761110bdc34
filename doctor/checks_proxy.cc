// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <set>

#include "base/port_range.h"
#include "doctor/checks.h"

namespace sluice::doctor {
namespace {

// A sidecar's ports for its own use: 15000, 15020, 15021, 15090 and so on.
constexpr PortRange kControlPorts{15000, 15099};
// A connection takes two descriptors. Container runtimes allow a million, a login shell 1,024,
// which are used up at 500 connections; a limit slightly above a shell's is not intended
// either.
constexpr std::uint64_t kFewDescriptors = 4096;
// A worker of sluice-proxy needs up to 16 pipes of 64 pages. The quota is for all processes of the
// user on the node.
constexpr std::uint64_t kPagesOfAWorker = 16 * 64;

bool IsListeningFor(const Listener& listener, const Destination& destination) {
  if (listener.protocol != destination.protocol || listener.address.port != destination.port) {
    return false;
  }
  const IpAddress& ip = listener.address.ip;
  // A listener on [::] also accepts IPv4, unless it is IPv6-only, which is not visible here.
  if (destination.family == Family::kIpv4) return ip.is_v4() || ip.IsUnspecified();
  return !ip.is_v4();
}

// REDIRECT sends packets from outside to the address of the interface, not to that of lo.
bool Reaches(const Listener& listener, const Destination& destination) {
  return !destination.from_outside || !listener.address.ip.IsLoopback();
}

std::string Describe(const Listener& listener) {
  if (!listener.process)
    return "a process that is not seen, of uid " + std::to_string(listener.uid);
  return "process " + std::to_string(listener.process->pid) + " (" + listener.process->name +
         "), uid " + std::to_string(listener.process->uid) + ", gid " +
         std::to_string(listener.process->gid);
}

// Whether the connections of a listener's process are captured again.
void CheckOwner(const InForce& rules, const Destination& destination, const Listener& listener,
                Findings& out) {
  const std::uint32_t uid = listener.process ? listener.process->uid : listener.uid;
  const std::uint32_t gid = listener.process ? listener.process->gid : listener.uid;
  if (!IsCapturedOutbound(rules, destination.family, uid, gid)) return;
  std::vector<std::string> right;
  for (const std::uint32_t id : rules.uids) right.push_back("uid " + std::to_string(id));
  for (const std::uint32_t id : rules.gids) right.push_back("gid " + std::to_string(id));
  out.push_back(
      {.name = "listeners",
       // Its group may be exempt.
       .state = listener.process ? State::kProblem : State::kWarning,
       .found = "port " + destination.ToString() + " is listened on by " + Describe(listener) +
                ": the rules capture its own connections, which come back to it",
       .remedy = "run the proxy as " + Listed(right) + ", or name its user with --proxy-uid"});
}

// The sidecar's processes, with their ancestors and descendants; and the doctor itself.
std::set<int> FindExpected(const Facts& facts, const InForce& rules) {
  std::map<int, int> parents;
  for (const Process& process : facts.processes->all) parents[process.pid] = process.parent;
  const auto with_ancestors = [&parents](int pid, std::set<int>& to) {
    for (auto at = parents.find(pid); at != parents.end(); at = parents.find(at->second)) {
      if (!to.insert(at->first).second) return;
    }
  };
  std::set<int> holders;
  if (facts.listeners) {
    for (const Listener& listener : *facts.listeners) {
      if (!listener.process) continue;
      const std::uint16_t port = listener.address.port;
      if (kControlPorts.Contains(port) ||
          std::ranges::find(rules.destinations, port, &Destination::port) !=
              rules.destinations.end()) {
        holders.insert(listener.process->pid);
      }
    }
  }
  std::set<int> out;
  for (const int pid : holders) with_ancestors(pid, out);
  with_ancestors(facts.own_pid, out);
  // All descendants of a holder.
  for (const auto& [pid, parent] : parents) {
    std::set<int> line;
    with_ancestors(pid, line);
    if (std::ranges::any_of(line, [&](int one) { return holders.contains(one); })) out.insert(pid);
  }
  return out;
}

}  // namespace

void CheckListeners(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "listeners";
  if (rules.unknown()) return out.push_back(NotChecked(kName, rules.unseen));
  if (!rules.any()) {
    return out.push_back({.name = kName, .found = "no rules say who is to listen"});
  }
  if (!facts.listeners) return out.push_back(NotChecked(kName, facts.listeners.why_not));
  const std::size_t before = out.size();
  std::vector<std::string> good;
  for (const Destination& destination : rules.destinations) {
    std::vector<const Listener*> there;
    for (const Listener& listener : *facts.listeners) {
      if (IsListeningFor(listener, destination)) there.push_back(&listener);
    }
    const bool reached = std::ranges::any_of(
        there, [&](const Listener* listener) { return Reaches(*listener, destination); });
    if (there.empty()) {
      out.push_back({.name = kName,
                     .state = rules.installed ? State::kProblem : State::kNote,
                     .found = "nothing listens on port " + destination.ToString() +
                              ", where the rules lead: such connections are refused",
                     .remedy = rules.installed
                                   ? "start the proxy, such as sluice-proxy, or see why it ended"
                                   : "start the proxy once the rules are there"});
      continue;
    }
    if (!reached) {
      out.push_back({.name = kName,
                     .state = State::kProblem,
                     .found = "port " + destination.ToString() + " is listened on at " +
                              there.front()->address.ToString() +
                              " only, where what comes from outside does not get",
                     .remedy = "let the proxy listen on all addresses"});
    }
    std::vector<int> named;
    for (const Listener* listener : there) {
      const int pid = listener->process ? listener->process->pid : 0;
      if (std::ranges::find(named, pid) != named.end()) continue;
      named.push_back(pid);
      CheckOwner(rules, destination, *listener, out);
    }
    good.push_back(destination.ToString() + " (" + Describe(*there.front()) + ")");
  }
  if (out.size() > before) return;
  out.push_back({.name = kName, .found = "there are listeners on " + Listed(good)});
}

void CheckApplicationUid(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "application-uid";
  constexpr const char* kRemedy =
      "run the application as another user (runAsUser), or the proxy, with --proxy-uid and "
      "--proxy-gid to match";
  if (rules.unknown()) return out.push_back(NotChecked(kName, rules.unseen));
  if (!rules.any()) {
    return out.push_back({.name = kName, .found = "no rules say who the proxy is"});
  }
  const std::size_t before = out.size();
  const auto is_proxy = [&rules](std::uint32_t uid, std::uint32_t gid) {
    return rules.uids.contains(uid) || rules.gids.contains(gid);
  };
  if (facts.processes) {
    const std::set<int> expected = FindExpected(facts, rules);
    for (const Process& process : facts.processes->all) {
      if (!is_proxy(process.uid, process.gid) || expected.contains(process.pid)) continue;
      out.push_back({.name = kName,
                     .state = State::kProblem,
                     .found = "process " + std::to_string(process.pid) + " (" + process.name +
                              ") runs as uid " + std::to_string(process.uid) + ", gid " +
                              std::to_string(process.gid) +
                              ", which is the proxy's: its connections are not captured",
                     .remedy = kRemedy});
    }
  }
  // A server of that user whose process is not visible.
  std::set<std::uint16_t> named;
  for (const Listener& listener : facts.listeners ? *facts.listeners : std::vector<Listener>()) {
    const std::uint16_t port = listener.address.port;
    if (listener.process || listener.protocol != capture::Protocol::kTcp ||
        !rules.uids.contains(listener.uid) || kControlPorts.Contains(port) ||
        std::ranges::find(rules.destinations, port, &Destination::port) !=
            rules.destinations.end() ||
        !named.insert(port).second) {
      continue;
    }
    out.push_back({.name = kName,
                   .state = State::kWarning,
                   .found = "port " + std::to_string(port) + " is listened on by uid " +
                            std::to_string(listener.uid) +
                            ", which is the proxy's: if that is an application, its connections "
                            "are not captured",
                   .remedy = kRemedy});
  }
  if (out.size() > before) return;
  if (!facts.processes) return out.push_back(NotChecked(kName, facts.processes.why_not));
  const auto suspects = std::ranges::count_if(facts.processes->hidden, [&](const Process& process) {
    return is_proxy(process.uid, process.gid);
  });
  if (suspects > 0) {
    return out.push_back(NotChecked(
        kName,
        "none is seen, but " + std::to_string(suspects) +
            " processes have the proxy's user or group, and it cannot be seen whether they are of "
            "this network namespace",
        "run this as root, with CAP_SYS_PTRACE"));
  }
  out.push_back({.name = kName,
                 .found = "only the proxy runs as its user or group, of the " +
                          std::to_string(facts.processes->all.size()) +
                          " processes that are visible here"});
}

void CheckDescriptors(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "descriptors";
  if (rules.unknown()) return out.push_back(NotChecked(kName, rules.unseen));
  std::set<int> pids;
  bool any = false;
  for (const Listener& listener : facts.listeners ? *facts.listeners : std::vector<Listener>()) {
    for (const Destination& destination : rules.destinations) {
      if (!IsListeningFor(listener, destination)) continue;
      any = true;
      if (listener.process) pids.insert(listener.process->pid);
    }
  }
  if (!any) return out.push_back({.name = kName, .found = "no proxy listens"});
  const std::size_t before = out.size();
  std::string good;
  for (const int pid : pids) {
    const auto found = facts.limits.find(pid);
    if (found == facts.limits.end()) continue;
    const auto& [soft, hard] = found->second;
    good += (good.empty() ? "" : "; ") + std::string("process ") + std::to_string(pid) +
            " may open " + std::to_string(soft);
    if (soft >= kFewDescriptors) continue;
    out.push_back({.name = kName,
                   .state = State::kWarning,
                   .found = "the proxy (process " + std::to_string(pid) + ") may open " +
                            std::to_string(soft) +
                            " files: at two for each connection there is "
                            "room for " +
                            std::to_string(soft / 2),
                   .remedy = hard > soft ? "raise its limit: ulimit -n " + std::to_string(hard)
                                         : "raise its limit: LimitNOFILE= of systemd, or that of "
                                           "the container runtime"});
  }
  if (out.size() > before) return;
  if (good.empty()) return out.push_back(NotChecked(kName, "the proxy's process is not seen"));
  out.push_back({.name = kName, .found = good});
}

void CheckPipes(const Facts& facts, Findings& out) {
  constexpr const char* kName = "pipes";
  if (!facts.pipe_pages) return out.push_back(NotChecked(kName, facts.pipe_pages.why_not));
  const std::uint64_t pages = *facts.pipe_pages;
  if (pages == 0) return out.push_back({.name = kName, .found = "no quota"});
  if (pages >= kPagesOfAWorker) {
    return out.push_back({.name = kName, .found = std::to_string(pages) + " pages for each user"});
  }
  out.push_back({.name = kName,
                 .state = State::kNote,
                 .found = "a user may have " + std::to_string(pages) +
                          " pages in pipes (fs.pipe-user-pages-soft), and one worker of the proxy "
                          "needs up to " +
                          std::to_string(kPagesOfAWorker) + ": it copies instead of splicing",
                 .remedy = "on the node: sysctl -w fs.pipe-user-pages-soft=16384"});
}

}  // namespace sluice::doctor
