// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-proxy/run.h"

#include <linux/capability.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <vector>

#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/unique_fd.h"
#include "cmd/sluice-proxy/harden.h"
#include "cmd/sluice-proxy/notify.h"
#include "cmd/sluice-proxy/privileges.h"
#include "proxy/proxy.h"

namespace sluice::proxy {
namespace {

using Clock = std::chrono::steady_clock;

// How often a draining proxy is asked whether it is done.
constexpr std::chrono::milliseconds kDrainPoll{20};

// Blocks the signals that this program answers and reads them as they come.
class Signals {
 public:
  Signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd_) throw SystemError(errno, "listen for signals");
  }

  // Waits for at most `timeout`; negative is for ever.
  std::optional<int> Next(std::chrono::milliseconds timeout) const {
    pollfd wait{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&wait, 1, static_cast<int>(timeout.count())) <= 0) return std::nullopt;
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof(info)) != sizeof(info)) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  UniqueFd fd_;
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

// What relaying needs: in TPROXY mode each connection to the application comes from the client's
// address (IP_TRANSPARENT) and has a mark.
std::vector<int> CapabilitiesOf(const ProxyConfig& config) {
  if (config.inbound_mode == InboundMode::kTproxy) return {CAP_NET_ADMIN};
  return {};
}

// What listens on loopback counts on it that nobody outside of the pod gets there.
void WarnOfOpenLoopback(const ProxyConfig& config) {
  if (!config.inbound_upstream || !config.inbound_upstream->IsLoopback()) return;
  spdlog::warn(
      "--inbound-upstream {}: every captured port of loopback can be reached from outside, also "
      "what was meant for this pod alone; `sluice-init -b` with a list captures only the ports "
      "that may be",
      config.inbound_upstream->ToString());
}

void DrainUntilDone(Proxy& proxy, const Signals& signals, std::chrono::milliseconds duration) {
  const Clock::time_point deadline = Clock::now() + duration;
  proxy.Drain();
  spdlog::info("draining: {} connections have {} ms", proxy.active(), duration.count());
  while (!proxy.Drained()) {
    if (Clock::now() >= deadline) {
      spdlog::warn("drain time is over: {} connections are reset", proxy.active());
      return;
    }
    const std::optional<int> signal = signals.Next(kDrainPoll);
    if (signal == SIGHUP) {
      proxy.ReopenLog();
    } else if (signal) {
      spdlog::warn("told to end at once: {} connections are reset", proxy.active());
      return;
    }
  }
  spdlog::info("drained");
}

}  // namespace

void Run(const Options& options) {
  CheckUser(options);
  // In two steps. What goes at once could open files now that cannot be opened again later, such as
  // a log in another user's directory; a port below 1024 is bound once.
  const std::vector<int> needed = CapabilitiesOf(options.config);
  std::vector<int> needed_to_bind = needed;
  needed_to_bind.push_back(CAP_NET_BIND_SERVICE);
  KeepCapabilities(needed_to_bind);
  const Signals signals;
  if (!options.hand_over) CheckPortsAreFree(options.config);
  Proxy proxy(options.config);
  KeepCapabilities(needed);
  proxy.Start();
  // All threads run and all ports are bound: what comes now is the daily round.
  if (options.seccomp) Harden();
  spdlog::info("outbound on {}, inbound on {}, {} workers, at most {} connections{}",
               options.config.outbound_port, options.config.inbound_port,
               options.config.concurrency, proxy.max_connections(),
               proxy.has_ipv6() ? "" : "; without IPv6, which this kernel does not have");
  WarnOfOpenLoopback(options.config);
  Notify("READY=1");
  while (true) {
    const std::optional<int> signal = signals.Next(std::chrono::milliseconds(-1));
    if (!signal) continue;
    if (*signal == SIGHUP) {
      proxy.ReopenLog();
      continue;
    }
    Notify("STOPPING=1");
    DrainUntilDone(proxy, signals, options.drain_duration);
    return;
  }
}

}  // namespace sluice::proxy
