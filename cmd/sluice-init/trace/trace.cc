// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/trace/trace.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <boost/json.hpp>

#include "base/error.h"
#include "base/os/signal_fd.h"
#include "base/standard_output.h"
#include "capture/explain/walk.h"
#include "cmd/sluice-init/explain/explain.h"
#include "cmd/sluice-init/explain/kernel_host.h"
#include "cmd/sluice-init/trace/line.h"
#include "netns/sysctl.h"
#include "nftables/kernel.h"
#include "trace/attribution.h"
#include "trace/kernel_events.h"
#include "trace/processes.h"

namespace sluice::init {
namespace {

using namespace capture::explain;
using Clock = std::chrono::steady_clock;

// Messages between two looks at the clock and the signals.
constexpr int kMostAtOnce = 256;
// x_tables do not say when they change: they are read again after this, or what reading costs
// becomes more than a twentieth.
constexpr std::chrono::milliseconds kRulesAge{1000};
constexpr int kRulesShare = 20;
// If reading again did not help, there is a pause, since it would not help with many others either.
constexpr std::chrono::milliseconds kStaleAge{100};
// A search through all processes may take a quarter of the time.
constexpr int kSearchShare = 3;

// SIGINT and SIGTERM as a descriptor, while in scope.
class EndSignals {
 public:
  EndSignals() = default;
  ~EndSignals() {
    // What has arrived is done with: it must not end the process now.
    while (signals_.Next()) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;
  int fd() const { return signals_.fd(); }

 private:
  static sigset_t Blocked() {
    sigset_t set;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &set);
    return set;
  }

  const sigset_t before_ = Blocked();
  const SignalFd signals_{SIGINT, SIGTERM};
};

bool HasOurs(const Model& model, std::string_view backend, Family family) {
  return std::ranges::any_of(model.tables, [&](const ModelTable& table) {
    return table.backend == backend && table.family == family &&
           std::ranges::any_of(table.chains, &ModelChain::ours);
  });
}

// The installed rules, and what explains connections by them.
class Rules {
 public:
  explicit Rules(netns::NetworkState& network) : network_(network) { Read(); }

  const Model& model() const { return state_->model; }
  KernelHost& host() { return state_->host; }
  const Walker& walker() const { return state_->walker; }
  const trace::Attributor& attributor() const { return state_->attributor; }

  // For rules that do not explain a connection. False if that did not help a moment ago
  // (DidNotHelp).
  bool ReadAgain() {
    if (Clock::now() < next_) return false;
    Read();
    return true;
  }
  void DidNotHelp() { next_ = read_ + std::max<Clock::duration>(kStaleAge, kRulesShare * cost_); }

  // Before connections are attributed.
  void Refresh() {
    if (nf_tables_ && nf_tables_->Generation() != generation_) {
      Read();
    } else if (!nf_tables_ || HasXtables()) {
      const auto age = Clock::now() - read_;
      if (age > kRulesAge && age > kRulesShare * cost_) Read();
    }
  }

 private:
  struct State {
    Model model;
    KernelHost host;
    Walker walker;
    trace::Attributor attributor;
    State(Model read, netns::NetworkState& network)
        : model(std::move(read)),
          host(network, false),
          walker(model, host),
          attributor(model, [this](Landing landing) { return walker.PortOf(landing); }) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
  };

  bool HasXtables() const {
    return std::ranges::any_of(model().tables,
                               [](const ModelTable& table) { return table.backend == "iptables"; });
  }

  void Read() {
    const auto start = Clock::now();
    try {
      if (!nf_tables_) nf_tables_.emplace();
      // Before, so that a change while reading is noticed.
      generation_ = nf_tables_->Generation();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kKernelFeature) throw;
      nf_tables_.reset();
    }
    network_.Forget();
    state_ = std::make_unique<State>(ReadInstalled(Unreadable::kIsNoted), network_);
    read_ = Clock::now();
    cost_ = read_ - start;
  }

  netns::NetworkState& network_;
  std::unique_ptr<State> state_;
  std::optional<nftables::Kernel> nf_tables_;
  std::uint32_t generation_ = 0;
  Clock::time_point read_;
  Clock::time_point next_{};  // reading again before is no use
  Clock::duration cost_{};
};

void RequireEvents() {
  std::string value;
  try {
    value = netns::ReadSysctl("netfilter/nf_conntrack_events");
  } catch (const Error&) {
    // Not shown in a user namespace.
    return;
  }
  if (value != "0") return;
  throw Error(ErrorKind::kKernelFeature,
              {.doing = "listen to events of conntrack",
               .target = {},
               .why = "the kernel sends none: net.netfilter.nf_conntrack_events is 0",
               .help = "sysctl -w net.netfilter.nf_conntrack_events=1, in this network namespace"});
}

class Tracer {
 public:
  Tracer(capture::InitConfig& config, netns::NetworkState& network)
      : config_(config), rules_(network) {
    for (const Family family : capture::kFamilies) Prepare(family);
    RequireEvents();
    for (const std::string& note : rules_.model().notes) config_.warnings.push_back(note);
  }

  void Run() {
    Announce();
    const bool limited = config_.trace.duration.has_value();
    const Clock::time_point end =
        limited ? Clock::now() + *config_.trace.duration : Clock::time_point::max();
    while (!Done()) {
      int timeout = -1;
      if (limited) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
        if (left <= 0) return;
        timeout = static_cast<int>(left);
      }
      pollfd fds[] = {{.fd = signals_.fd(), .events = POLLIN, .revents = 0},
                      {.fd = events_.fd(), .events = POLLIN, .revents = 0}};
      if (::poll(fds, 2, timeout) < 0 && errno != EINTR) {
        throw SystemError(errno, "wait for events");
      }
      if (fds[0].revents != 0) return;
      if (fds[1].revents != 0) Drain();
    }
  }

  std::string Summary() {
    if (events_.overruns() != 0) {
      config_.warnings.push_back("the kernel had more events than the socket's buffer holds, " +
                                 std::to_string(events_.overruns()) +
                                 " times: connections are missing above");
    }
    const std::uint64_t captured = outbound_ + inbound_ + dns_;
    std::string out = std::to_string(shown_) + (shown_ == 1 ? " connection" : " connections");
    if (shown_ != 0) {
      out += ": " + std::to_string(captured) + " captured (" + std::to_string(outbound_) +
             " outbound, " + std::to_string(inbound_) + " inbound, " + std::to_string(dns_) +
             " dns), " + std::to_string(shown_ - captured) + " not";
    }
    if (events_.overruns() != 0) {
      out += "; " + std::to_string(events_.overruns()) + " overruns of the buffer for events";
    }
    return out;
  }

 private:
  bool Done() const { return config_.trace.count != 0 && shown_ >= config_.trace.count; }

  // Makes the kernel tell more, where needed: the rules of nf_tables that packets meet, and
  // conntrack at work where no rule of Sluice needs it.
  void Prepare(Family family) {
    const bool nft = HasOurs(rules_.model(), "nftables", family);
    const bool xtables = HasOurs(rules_.model(), "iptables", family);
    if (xtables && !nft) return;
    std::optional<trace::TraceTable>& table = tables_[family == Family::kIpv6];
    try {
      table.emplace(family);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kPrivilege) throw;
      config_.warnings.push_back(
          std::string(sluice::Name(family)) + ": " + error.what() +
          (nft ? "; rules are told by explanation"
               : "; its connections are only seen if something else makes conntrack track them"));
    }
  }

  std::string HowOf(Family family) const {
    return tables_[family == Family::kIpv6] ? "trace events of nf_tables" : "explanation";
  }

  // Says that connections are seen from now on.
  void Announce() const {
    if (config_.log_level < capture::LogLevel::kInfo) return;
    std::string text;
    if (config_.log_format == capture::LogFormat::kJson) {
      text = boost::json::serialize(boost::json::object{
          {"action", "trace"},
          {"tracing", {{"IPv4", HowOf(Family::kIpv4)}, {"IPv6", HowOf(Family::kIpv6)}}}});
    } else {
      text = "sluice-init: info: tracing; rules of IPv4 by " + HowOf(Family::kIpv4) +
             ", of IPv6 by " + HowOf(Family::kIpv6);
    }
    std::fprintf(stderr, "%s\n", text.c_str());
  }

  void Drain() {
    // The sender is asked for at once: it may be gone in a moment.
    struct Waiting {
      TracedConnection connection;
      std::optional<trace::SocketFound> sender;
      bool own_source = false;
      int in_link = 0;
    };
    std::vector<Waiting> waiting;
    for (int i = 0; i < kMostAtOnce && events_.Receive(received_); ++i) {
      for (trace::EventSocket::Event& event : received_) {
        std::optional<trace::Seen> seen;
        if (auto* const step = std::get_if<trace::TraceEvent>(&event)) {
          seen = packets_.Add(std::move(*step));
        } else {
          seen = packets_.Add(std::get<trace::NewConnection>(event));
        }
        if (!seen || !IsWanted(seen->original)) continue;
        Waiting next{.connection = {.time = std::chrono::system_clock::now(),
                                    .seen = *std::move(seen),
                                    .attribution = {}},
                     .sender = {}};
        const trace::Tuple& tuple = next.connection.seen.original;
        for (const trace::TraceEvent& step : next.connection.seen.steps) {
          if (step.tuple) next.in_link = step.in_link;
          if (step.tuple) break;
        }
        next.own_source = rules_.host().IsOwn(tuple.from.ip);
        next.sender = sockets_.Sender(tuple, next.own_source);
        if (next.sender) next.connection.uid = next.sender->uid;
        if (!config_.trace.uids.empty() &&
            (!next.sender ||
             std::ranges::find(config_.trace.uids, next.sender->uid) == config_.trace.uids.end())) {
          continue;
        }
        waiting.push_back(std::move(next));
      }
    }
    if (events_.overruns() != 0 && !said_overrun_) {
      said_overrun_ = true;
      if (config_.log_format == capture::LogFormat::kText &&
          config_.log_level >= capture::LogLevel::kWarning) {
        std::fprintf(stderr,
                     "sluice-init: warning: events come faster than they are read, and "
                     "some are lost\n");
      }
    }
    if (waiting.empty()) return;
    for (Waiting& each : waiting) {
      if (each.sender) Search(*each.sender, each.connection);
    }
    rules_.Refresh();
    std::string out;
    for (Waiting& each : waiting) {
      if (Done()) break;
      Attribute(each.connection, each.sender, each.own_source, each.in_link);
      out += config_.json_output ? TraceJson(each.connection) : TraceText(each.connection);
      Count(each.connection.attribution.landing);
    }
    WriteOutput(out);
  }

  bool IsWanted(const trace::Tuple& tuple) const {
    const capture::TraceConfig& wanted = config_.trace;
    if (!wanted.ports.empty() && std::ranges::none_of(wanted.ports, [&](const PortRange& range) {
          return range.Contains(tuple.to.port);
        })) {
      return false;
    }
    return wanted.ranges.empty() || std::ranges::any_of(wanted.ranges, [&](const Cidr& range) {
             return range.Contains(tuple.from.ip) || range.Contains(tuple.to.ip);
           });
  }

  void Search(const trace::SocketFound& sender, TracedConnection& connection) {
    const auto start = Clock::now();
    const bool thorough = start >= next_search_;
    connection.holder = processes_.HolderOf(sender.inode, sender.uid, thorough);
    const auto end = Clock::now();
    if (thorough) next_search_ = end + kSearchShare * (end - start);
  }

  void Attribute(TracedConnection& connection, const std::optional<trace::SocketFound>& sender,
                 bool own_source, int in_link) {
    connection.attribution = AttributeOnce(connection, sender, own_source, in_link);
    if (!connection.attribution.stale || !rules_.ReadAgain()) return;
    connection.attribution = AttributeOnce(connection, sender, own_source, in_link);
    if (connection.attribution.stale) rules_.DidNotHelp();
  }

  trace::Attribution AttributeOnce(const TracedConnection& traced,
                                   const std::optional<trace::SocketFound>& sender, bool own_source,
                                   int in_link) {
    const trace::Tuple& tuple = traced.seen.original;
    Connection connection{.to = tuple.to,
                          .from = tuple.from.ip,
                          .from_port = tuple.from.port,
                          .from_port_known = true,
                          .protocol = tuple.protocol};
    if (own_source || sender) {
      if (sender) {
        connection.uid = sender->uid;
        connection.mark = sender->mark;
      }
      if (traced.holder) connection.gid = traced.holder->gid;
    } else {
      connection.in_interface = rules_.host().InterfaceName(in_link);
      if (connection.in_interface.empty()) {
        connection.in_interface = rules_.host().Route({.to = tuple.from.ip}).device;
      }
      if (connection.in_interface.empty()) connection.in_interface = "eth0";
    }
    const bool readable = rules_.model().notes.empty();
    const Explanation explanation = readable ? rules_.walker().Explain(connection) : Explanation();
    const bool lands_here = traced.seen.reply && rules_.host().IsOwn(traced.seen.reply->from.ip);
    return rules_.attributor().Of(traced.seen, explanation, lands_here);
  }

  void Count(Landing landing) {
    ++shown_;
    if (landing == Landing::kOutbound) ++outbound_;
    if (landing == Landing::kInbound) ++inbound_;
    if (landing == Landing::kDns) ++dns_;
  }

  capture::InitConfig& config_;
  EndSignals signals_;
  trace::EventSocket events_;
  Rules rules_;
  std::optional<trace::TraceTable> tables_[2];
  trace::Packets packets_;
  trace::SocketLookup sockets_;
  trace::Processes processes_;
  std::vector<trace::EventSocket::Event> received_;
  Clock::time_point next_search_{};
  bool said_overrun_ = false;
  std::uint64_t shown_ = 0, outbound_ = 0, inbound_ = 0, dns_ = 0;
};

}  // namespace

std::string Trace(capture::InitConfig& config, netns::NetworkState& network) {
  Tracer tracer(config, network);
  tracer.Run();
  return tracer.Summary();
}

}  // namespace sluice::init
