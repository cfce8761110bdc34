// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-proxy/run.h"

#include <linux/capability.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/os/signal_fd.h"
#include "base/unique_fd.h"
#include "cmd/sluice-proxy/harden.h"
#include "cmd/sluice-proxy/notify.h"
#include "cmd/sluice-proxy/privileges.h"
#include "proxy/accept/hand_over.h"
#include "proxy/proxy.h"

namespace sluice::proxy {
namespace {

using Clock = std::chrono::steady_clock;

// How often to check whether a draining proxy is done.
constexpr std::chrono::milliseconds kDrainPoll{20};

// The signals that this program handles.
class Signals {
 public:
  // Waits for at most `timeout` (forever if negative), or until one of `others` is ready.
  std::optional<int> Next(std::chrono::milliseconds timeout,
                          const std::array<pollfd, 3>& others = {kNobody, kNobody, kNobody}) const {
    std::array<pollfd, 4> wait = {pollfd{.fd = fd_.fd(), .events = POLLIN, .revents = 0}, others[0],
                                  others[1], others[2]};
    if (::poll(wait.data(), wait.size(), static_cast<int>(timeout.count())) <= 0) {
      return std::nullopt;
    }
    if (wait[0].revents == 0) return std::nullopt;
    return fd_.Next();
  }

 private:
  static constexpr pollfd kNobody{.fd = -1, .events = 0, .revents = 0};

  SignalFd fd_{SIGTERM, SIGINT, SIGHUP};
};

void CheckUser(const Options& options) {
  if (::geteuid() != 0 || options.allow_root) return;
  throw Error(ErrorKind::kPrivilege,
              {.doing = "run as root",
               .target = {},
               .why = "the rules exempt the proxy by its uid, and root's own traffic would be "
                      "captured again",
               .help = "run as uid 1337, or give --allow-root if the rules exempt uid 0"});
}

// Capabilities for relaying: in TPROXY mode each connection to the application uses the client's
// address (IP_TRANSPARENT) and has a mark.
std::vector<int> CapabilitiesOf(const ProxyConfig& config) {
  if (config.inbound_mode == InboundMode::kTproxy) return {CAP_NET_ADMIN};
  return {};
}

// Listeners on loopback must not be reachable from outside the pod.
void WarnOfOpenLoopback(const ProxyConfig& config) {
  if (!config.inbound_upstream || !config.inbound_upstream->IsLoopback()) return;
  spdlog::warn(
      "--inbound-upstream {}: every captured port of loopback can be reached from outside, also "
      "what was meant for this pod alone; `sluice-init -b` with a list captures only the ports "
      "that may be",
      config.inbound_upstream->ToString());
}

// Connections from a client's own address need ports that clients do not give to their own.
void WarnOfWidePortRange(const ProxyConfig& config) {
  if (config.inbound_mode != InboundMode::kTproxy) return;
  const auto range = RangeWithoutPortsBeside();
  if (!range) return;
  spdlog::warn(
      "--mode TPROXY: net.ipv4.ip_local_port_range is {} to {} in this pod, which leaves no ports "
      "beside it for connections from a client's address; one that gets the port of another "
      "connection of that client waits for a second or more; set a narrower range in the pod, such "
      "as \"16384 65535\"",
      range->first, range->second);
}

// This proxy is serving: the one that gave the sockets may end.
void TakeOver(std::optional<Predecessor>& before, bool stop_old) {
  if (!before) {
    spdlog::warn(
        "--hand-over: no sluice-proxy of this user answers; if one has these ports, they are "
        "shared with it until it ends");
    return;
  }
  before->Taken(stop_old);
  const std::string process =
      before->pid() > 0 ? " (process " + std::to_string(before->pid()) + ")" : "";
  if (stop_old) {
    spdlog::info("took the listening sockets of the sluice-proxy of before{}, which drains",
                 process);
  } else {
    spdlog::warn(
        "took the listening sockets of the sluice-proxy of before{}, which goes on accepting "
        "beside this one until it is sent SIGTERM; --stop-old would tell it to drain",
        process);
  }
}

// Whether the next proxy wants this one to drain.
bool HandsOver(Proxy& proxy, HandOver& hand_over) {
  const HandOver::News news = hand_over.Serve(proxy.Listeners());
  proxy.SetHandedOver(hand_over.given());
  if (news == HandOver::News::kNone) return false;
  const bool stop = news == HandOver::News::kStop;
  spdlog::info("handed the listening sockets over to another sluice-proxy{}",
               stop ? ", which wants this one to drain" : "");
  return stop;
}

std::string ToText(std::chrono::milliseconds duration) {
  const auto ms = duration.count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

// `signalled`: a signal started the drain, so the next one is the second.
void DrainUntilDone(Proxy& proxy, const Signals& signals, std::chrono::milliseconds duration,
                    bool signalled) {
  const Clock::time_point deadline = Clock::now() + duration;
  proxy.Drain();
  spdlog::info("draining {} connections, up to {}", proxy.active(), ToText(duration));
  while (!proxy.Drained()) {
    if (Clock::now() >= deadline) {
      spdlog::warn("drain time is over: {} connections are reset", proxy.active());
      return;
    }
    const std::optional<int> signal = signals.Next(kDrainPoll);
    if (!signal) continue;
    if (*signal == SIGHUP) {
      proxy.ReopenLog();
    } else if (!signalled) {
      // The drain began on the admin port, as by a preStop hook, and this is the first signal.
      signalled = true;
    } else {
      spdlog::warn("second signal: {} connections are reset", proxy.active());
      return;
    }
  }
  spdlog::info("drained");
}

// Also ends the wait for a signal: a request for the listening sockets, or POST /drain.
std::array<pollfd, 3> Others(const HandOver& hand_over, const Proxy& proxy) {
  const std::array<pollfd, 2> next = hand_over.Awaited();
  return {next[0], next[1], pollfd{.fd = proxy.drain_asked_fd(), .events = POLLIN, .revents = 0}};
}

}  // namespace

void Run(const Options& options) {
  CheckUser(options);
  // In two steps. The capabilities dropped last may be needed to open files that cannot be opened
  // again later, such as a log in another user's directory; a port below 1024 is bound only once.
  const std::vector<int> needed = CapabilitiesOf(options.config);
  std::vector<int> needed_to_bind = needed;
  needed_to_bind.push_back(CAP_NET_BIND_SERVICE);
  KeepCapabilities(needed_to_bind);
  const Signals signals;
  const std::string name = HandOverName(options.config.outbound_port, options.config.inbound_port);
  std::optional<Predecessor> before;
  if (options.hand_over) {
    before = Predecessor::Ask(name);
  } else {
    CheckPortsAreFree(options.config);
  }
  Proxy proxy(options.config, before ? std::move(before->listeners()) : std::vector<UniqueFd>());
  KeepCapabilities(needed);
  proxy.Start();
  std::optional<HandOver> hand_over(std::in_place, name,
                                    before ? std::move(before->asked_on()) : UniqueFd());
  if (!hand_over->possible()) {
    spdlog::warn(
        "another process answers for the sluice-proxy of these ports: the next one with "
        "--hand-over cannot take them without a delay");
  }
  // All threads run and all ports are bound: what comes now is the daily round.
  if (options.seccomp) {
    // With the key of the certificate in memory.
    if (options.config.mtls.enabled()) NoCoreDumps();
    Harden();
  }
  spdlog::info("outbound on {}, inbound on {}, {} workers, at most {} connections{}",
               options.config.outbound_port, options.config.inbound_port,
               options.config.concurrency, proxy.max_connections(),
               proxy.has_ipv6() ? "" : "; without IPv6, which this kernel does not have");
  WarnOfOpenLoopback(options.config);
  WarnOfWidePortRange(options.config);
  Notify("READY=1");
  if (options.hand_over) TakeOver(before, options.stop_old);
  while (true) {
    const std::optional<int> signal =
        signals.Next(std::chrono::milliseconds(-1), Others(*hand_over, proxy));
    const bool drain = !signal && (proxy.drain_asked() || HandsOver(proxy, *hand_over));
    if (!signal && !drain) continue;
    if (signal == SIGHUP) {
      proxy.ReopenLog();
      continue;
    }
    // Stop handing over now: an answer would be outdated at once.
    hand_over.reset();
    Notify("STOPPING=1");
    DrainUntilDone(proxy, signals, options.drain_duration, signal.has_value());
    return;
  }
}

}  // namespace sluice::proxy
