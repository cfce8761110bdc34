// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// `sluice-init trace` with real connections. Each connection stays open until it is shown, so that
// its sender can be found.
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <sstream>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/socket_address.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::chrono::seconds kPatience{60};

SocketAddress To(const char* ip, std::uint16_t port) { return {IpAddress::Parse(ip), port}; }

// An open socket that has sent its first packet.
struct Sender {
  UniqueFd fd;
  std::uint16_t port = 0;

  // The beginning of its line from "port" on.
  std::string Mark() const { return "\"port\":" + std::to_string(port) + ",\"uid\":"; }
};

Sender Open(const netns::Namespace& where, const Credentials& who, const SocketAddress& to,
            Transport transport = Transport::kTcp) {
  return CallIn(where, who, [&] {
    const bool tcp = transport == Transport::kTcp;
    sockaddr_storage peer;
    const socklen_t length = ToSockaddr(to, peer);
    Sender out;
    out.fd.reset(
        socket(peer.ss_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!out.fd) throw SystemError(errno, "make a socket");
    sockaddr_storage own;
    socklen_t size = ToSockaddr({IpAddress::Unspecified(to.ip.family()), 0}, own);
    auto* const address = reinterpret_cast<sockaddr*>(&own);
    if (bind(out.fd.get(), address, size) != 0 || getsockname(out.fd.get(), address, &size) != 0) {
      throw SystemError(errno, "bind a socket");
    }
    out.port = FromSockaddr(own).port;
    const auto* const there = reinterpret_cast<const sockaddr*>(&peer);
    // The answer of TCP is not waited for.
    if (tcp ? connect(out.fd.get(), there, length) != 0 && errno != EINPROGRESS
            : sendto(out.fd.get(), "q", 1, 0, there, length) != 1) {
      throw SystemError(errno, "send to " + to.ToString());
    }
    return out;
  });
}

// A port that takes connections and says nothing.
UniqueFd Silent(const netns::Namespace& where, std::uint16_t port) {
  return CallIn(where, kRoot, [port] {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage own;
    const socklen_t size = ToSockaddr({IpAddress::Unspecified(Family::kIpv4), port}, own);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), size) != 0 ||
        listen(fd.get(), 64) != 0) {
      throw SystemError(errno, "listen");
    }
    return fd;
  });
}

Command TraceCommand(std::vector<std::string> more) {
  more.insert(more.begin(), {"trace", "--output", "json"});
  return InitCommand(more);
}

// A running trace.
class Tracing {
 public:
  Tracing(const netns::Namespace& where, const Command& command) : process_(where, command) {
    EXPECT_TRUE(process_.WaitForText("tracing", kPatience)) << process_.Err();
  }
  Tracing(const netns::Namespace& where, std::vector<std::string> more = {})
      : Tracing(where, TraceCommand(std::move(more))) {}

  // The line with that text, once it is there.
  json::object LineWith(const std::string& text) const {
    if (!process_.WaitForText(text, kPatience)) {
      ADD_FAILURE() << "no line has " << text << "\n" << process_.Out() << process_.Err();
      return {};
    }
    std::istringstream lines(process_.Out());
    for (std::string line; std::getline(lines, line);) {
      if (line.find(text) != line.npos) return json::parse(line).as_object();
    }
    return {};
  }
  json::object LineOf(const Sender& sender) const { return LineWith(sender.Mark()); }

  Process& process() { return process_; }
  CommandResult End(int signal = SIGINT) {
    process_.Signal(signal);
    return process_.Wait(kPatience);
  }

 private:
  Process process_;
};

// "outbound 15001", "direct 0".
std::string LandedAs(const json::object& line) {
  if (!line.contains("landing")) return "no line";
  return std::string(line.at("landing").as_string()) + " " +
         std::to_string(line.at("port").to_number<int>());
}

std::string FlagOf(const json::object& line) {
  const auto* const rule =
      line.contains("decided_by") ? line.at("decided_by").if_object() : nullptr;
  if (rule == nullptr) return "no rule";
  const auto& flag = rule->at("flag");
  return flag.is_null() ? "no flag" : std::string(flag.as_string());
}

const char* KnownBy() { return TestsNftables() ? "trace" : "explanation"; }

std::string Tables(const netns::Namespace& where) {
  const auto listed = RunCommand(where, {.argv = {"nft", "list", "tables"}});
  EXPECT_EQ(listed.exit_status, 0) << listed.err;
  return listed.out;
}

class TraceNetns : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    network_.emplace();
  }
  void Install(std::vector<std::string> args) {
    const auto result = RunInit(pod(), std::move(args));
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }
  const netns::Namespace& pod() const { return network_->pod(); }
  const netns::Namespace& outside() const { return network_->outside(); }

  std::optional<PodNetwork> network_;
};

TEST_F(TraceNetns, WhereConnectionsLandWhoMadeThemAndByWhichRule) {
  Install({"-i", "*", "-b", "*", "-d", "8080", "--redirect-dns", "--capture-all-dns"});
  const Listeners proxy(pod(), {{15001, "out"}, {15006, "in"}, {8080, "app"}});
  const Listeners world(outside(), {{80, "world"}});
  Tracing trace(pod());
  const auto check = [&](const Sender& sender, const char* landing, const char* flag) {
    const auto line = trace.LineOf(sender);
    EXPECT_EQ(LandedAs(line), landing) << json::serialize(line);
    EXPECT_EQ(FlagOf(line), flag) << json::serialize(line);
    return line;
  };
  auto line = check(Open(pod(), kApplication, To("198.51.100.1", 80)), "outbound 15001",
                    "--envoy-port=15001");
  EXPECT_EQ(line.at("known_by"), KnownBy());
  EXPECT_EQ(line.at("proto"), "tcp");
  EXPECT_EQ(line.at("to").at("address"), "198.51.100.1");
  EXPECT_EQ(line.at("arrives_at").at("port"), 15001);
  EXPECT_EQ(line.at("from").at("address"), "192.0.2.2");
  EXPECT_EQ(line.at("from").at("uid"), 1000);
  EXPECT_EQ(line.at("from").at("pid"), getpid());
  EXPECT_EQ(line.at("from").at("command"), "netns_explain");
  EXPECT_THAT(json::serialize(line.at("notes")), HasSubstr("captured because of --istio-service"));
  check(Open(pod(), kApplication, To("2001:db8::1", 80)), "outbound 15001", "--envoy-port=15001");
  check(Open(pod(), kProxy, To("198.51.100.1", 80)), "direct 0", "--proxy-uid=1337");
  line = check(Open(pod(), kProxy, To("2001:db8::1", 80)), "direct 0", "--proxy-uid=1337");
  EXPECT_EQ(line.at("family"), "IPv6");
  EXPECT_EQ(line.at("known_by"), KnownBy());
  line = check(Open(pod(), kApplication, To("10.96.0.10", 53), Transport::kUdp), "dns 15053",
               "--capture-all-dns=true");
  EXPECT_EQ(line.at("proto"), "udp");
  EXPECT_EQ(line.at("from").at("uid"), 1000);
  check(Open(pod(), kApplication, To("2001:db8::1", 53), Transport::kUdp), "dns 15053",
        "--capture-all-dns=true");
  check(Open(pod(), kApplication, To("198.51.100.1", 5000), Transport::kUdp), "direct 0",
        "no rule");
  line = check(Open(outside(), kApplication, To("192.0.2.2", 80)), "inbound 15006",
               "--inbound-capture-port=15006");
  EXPECT_TRUE(line.at("from").at("uid").is_null()) << "a sender elsewhere";
  check(Open(outside(), kApplication, To("fd00:2::2", 80)), "inbound 15006",
        "--inbound-capture-port=15006");
  check(Open(outside(), kApplication, To("192.0.2.2", 8080)), "direct 0",
        "--istio-local-exclude-ports=8080");
  const auto end = trace.End(SIGTERM);
  EXPECT_EQ(end.exit_status, 0) << end.err;
  EXPECT_THAT(end.err,
              HasSubstr("10 connections: 6 captured (2 outbound, 2 inbound, 2 dns), 4 not"));
}

// conntrack's entry looks like that of a connection that is not captured.
TEST_F(TraceNetns, TproxyIsTold) {
  Install({"-i", "*", "-b", "*", "-d", "8080", "-m", "TPROXY"});
  const Listeners proxy(pod(),
                        {{15001, "out"}, {15006, "in", Transport::kTcp, true}, {8080, "app"}});
  Tracing trace(pod());
  for (const char* address : {"192.0.2.2", "fd00:2::2"}) {
    const auto line = trace.LineOf(Open(outside(), kApplication, To(address, 80)));
    EXPECT_EQ(LandedAs(line), "inbound 15006") << json::serialize(line);
    EXPECT_EQ(line.at("arrives_at").at("port"), 80);
    EXPECT_EQ(line.at("known_by"), KnownBy());
    EXPECT_THAT(json::serialize(line.at("decided_by")), HasSubstr("ISTIO_TPROXY"));
    EXPECT_EQ(LandedAs(trace.LineOf(Open(outside(), kApplication, To(address, 8080)))), "direct 0");
  }
  // It meets TPROXY when it comes back through lo.
  EXPECT_EQ(LandedAs(trace.LineOf(Open(pod(), kProxy, To("192.0.2.2", 80)))), "inbound 15006");
  EXPECT_EQ(trace.End().exit_status, 0);
}

TEST_F(TraceNetns, OnlyWhatIsAskedForAndAsMany) {
  Install({"-i", "*", "-b", "*"});
  const Listeners proxy(pod(), {{15001, "out"}});
  Tracing trace(pod(), {"--from-uid", "1000", "--port", "80,8000-8999", "--address",
                        "198.51.100.0/24", "--count", "2"});
  std::vector<Sender> others;
  others.push_back(Open(pod(), {.uid = 1001, .gid = 1001}, To("198.51.100.1", 80)));
  others.push_back(Open(pod(), kApplication, To("198.51.100.1", 81)));
  others.push_back(Open(pod(), kApplication, To("203.0.113.9", 80)));
  const Sender first = Open(pod(), kApplication, To("198.51.100.1", 80));
  trace.LineOf(first);
  const Sender second = Open(pod(), kApplication, To("198.51.100.1", 8005));
  const auto end = trace.process().Wait(kPatience);
  EXPECT_EQ(end.exit_status, 0) << end.err;
  EXPECT_THAT(end.out, HasSubstr(first.Mark()));
  EXPECT_THAT(end.out, HasSubstr(second.Mark()));
  for (const Sender& other : others) EXPECT_THAT(end.out, Not(HasSubstr(other.Mark())));
  EXPECT_THAT(end.err, HasSubstr("2 connections: 2 captured"));
}

// An excluded range: by the rule of the flag, for a program of its own.
TEST_F(TraceNetns, AProgramsConnectionThatIsNotCapturedSaysWhy) {
  Install({"-i", "*", "-x", "203.0.113.0/24"});
  const UniqueFd world = Silent(outside(), 80);
  Tracing trace(pod());
  Process program(pod(), {.argv = {"bash", "-c", "exec 3<>/dev/tcp/203.0.113.9/80; read -r x <&3"},
                          .who = kApplication});
  const auto line = trace.LineWith("\"to\":{\"address\":\"203.0.113.9\",\"port\":80}");
  EXPECT_EQ(LandedAs(line), "direct 0") << json::serialize(line);
  EXPECT_EQ(FlagOf(line), "--istio-service-exclude-cidr=203.0.113.0/24") << json::serialize(line);
  EXPECT_EQ(line.at("from").at("command"), "bash");
  EXPECT_EQ(line.at("from").at("pid"), program.pid());
  const auto end = trace.End();
  EXPECT_EQ(end.exit_status, 0) << end.err;
  EXPECT_THAT(end.err, HasSubstr("1 connection: 0 captured"));
}

// Rules that come while it runs, and none at all before.
TEST_F(TraceNetns, RulesThatChangeMeanwhile) {
  const Listeners proxy(pod(), {{15001, "out"}});
  Tracing trace(pod());
  EXPECT_THAT(Tables(pod()), HasSubstr("table ip sluice_trace_"));
  auto line = trace.LineOf(Open(pod(), kApplication, To("198.51.100.1", 80)));
  EXPECT_EQ(LandedAs(line), "direct 0");
  EXPECT_TRUE(line.at("decided_by").is_null());
  Install({"-i", "*"});
  line = trace.LineOf(Open(pod(), kApplication, To("198.51.100.1", 81)));
  EXPECT_EQ(LandedAs(line), "outbound 15001") << json::serialize(line);
  EXPECT_EQ(FlagOf(line), "--envoy-port=15001") << json::serialize(line);
  // Whatever ends it, the kernel takes its table away.
  const auto end = trace.End(SIGKILL);
  EXPECT_EQ(end.exit_status, 128 + SIGKILL);
  EXPECT_THAT(Tables(pod()), Not(HasSubstr("sluice_trace_")));
}

// conntrack never hears of it: nf_tables tells.
TEST_F(TraceNetns, ARuleOfOthersThatDropsIsNamed) {
  if (!TestsNftables()) Install({"-i", "*", "--cleanup-only"});
  if (TestsNftables()) Install({"-i", "*"});
  Nft(pod(),
      "table inet wall {\n chain out { type filter hook output priority 0; tcp dport 4433 drop; }\n"
      "}\n");
  Tracing trace(pod());
  const auto line = trace.LineOf(Open(pod(), kProxy, To("198.51.100.1", 4433)));
  EXPECT_EQ(LandedAs(line), "dropped 0") << json::serialize(line);
  EXPECT_TRUE(line.at("arrives_at").is_null());
  EXPECT_EQ(line.at("decided_by").at("table"), "wall");
  EXPECT_THAT(json::serialize(line.at("decided_by").at("text")), HasSubstr("dport 4433 drop"));
  EXPECT_EQ(trace.End().exit_status, 0);
}

TEST_F(TraceNetns, NeedsNoMoreThanNetAdmin) {
  Install({"-i", "*"});
  const Listeners proxy(pod(), {{15001, "out"}});
  Command command = TraceCommand({"--duration", "60s"});
  command.who = kApplication;
  command.capabilities = {CAP_NET_ADMIN};
  Tracing trace(pod(), command);
  const auto line = trace.LineOf(Open(pod(), kApplication, To("198.51.100.1", 80)));
  EXPECT_EQ(LandedAs(line), "outbound 15001") << json::serialize(line);
  EXPECT_EQ(FlagOf(line), "--envoy-port=15001") << json::serialize(line);
  EXPECT_EQ(line.at("from").at("uid"), 1000);
  EXPECT_EQ(trace.End().exit_status, 0);
  command.capabilities = std::vector<int>();
  const auto without = RunCommand(pod(), command);
  EXPECT_EQ(without.exit_status, 3) << without.err;
  EXPECT_THAT(without.err, HasSubstr("CAP_NET_ADMIN"));
}

TEST_F(TraceNetns, WithoutEventsItSaysSo) {
  Install({"-i", "*"});
  const auto set = [&](const char* value) {
    const auto done = RunCommand(
        pod(),
        {.argv = {"sysctl", "-w", std::string("net.netfilter.nf_conntrack_events=") + value}});
    ASSERT_EQ(done.exit_status, 0) << done.err;
  };
  set("0");
  const auto result = RunCommand(pod(), TraceCommand({}));
  EXPECT_EQ(result.exit_status, 4) << result.err;
  EXPECT_THAT(result.err, HasSubstr("nf_conntrack_events=1"));
}

// More events than the buffer holds, while it is stopped.
TEST_F(TraceNetns, AnOverrunIsCounted) {
  Install({"-i", "*"});
  Tracing trace(pod(), {"--port", "1"});
  trace.process().Signal(SIGSTOP);
  RunIn(pod(), kApplication, [] {
    const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    for (int i = 0; i < 40'000; ++i) {
      sockaddr_storage peer;
      const socklen_t length =
          ToSockaddr(To("127.0.0.1", static_cast<std::uint16_t>(10'000 + i)), peer);
      static_cast<void>(
          sendto(fd.get(), "q", 1, 0, reinterpret_cast<const sockaddr*>(&peer), length));
    }
  });
  trace.process().Signal(SIGCONT);
  EXPECT_TRUE(trace.process().WaitForText("some are lost", kPatience));
  const auto end = trace.End();
  EXPECT_EQ(end.exit_status, 0) << end.err;
  EXPECT_THAT(end.err, HasSubstr("connections are missing above"));
  EXPECT_THAT(end.err, HasSubstr("overrun"));
}

}  // namespace
}  // namespace sluice::testing_support
