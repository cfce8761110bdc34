// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The helpers behind all namespace tests: they must report what really happens.

#include <linux/capability.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "test/support/command.h"
#include "test/support/connection.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class SupportTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }
};

SocketAddress At(std::string_view ip, std::uint16_t port) { return {IpAddress::Parse(ip), port}; }

TEST_F(SupportTest, RunInActsInTheNamespaceAsTheUser) {
  const netns::Namespace elsewhere = netns::Namespace::CreateAnonymous();
  const auto before = netns::Namespace::Current().Identity();
  const auto seen = CallIn(elsewhere, {.uid = 1000, .gid = 202, .groups = {5}}, [] {
    std::vector<gid_t> groups(8);
    groups.resize(static_cast<std::size_t>(getgroups(8, groups.data())));
    return std::tuple(netns::Namespace::Current().Identity(), getuid(), getgid(), groups);
  });
  EXPECT_EQ(seen, std::tuple(elsewhere.Identity(), uid_t{1000}, gid_t{202}, std::vector<gid_t>{5}));
  EXPECT_EQ(netns::Namespace::Current().Identity(), before);
  EXPECT_EQ(getuid(), 0U);
}

TEST_F(SupportTest, PodReachesTheWorldOverBothFamilies) {
  const PodNetwork network;
  const Listeners world(
      network.outside(),
      {{.port = 80, .answer = "web"}, {.port = 53, .answer = "dns", .transport = Transport::kUdp}});
  for (const std::string_view ip : {"198.51.100.1", "203.0.113.9", "192.0.2.1", "192.0.3.1",
                                    "2001:db8::1", "2001:db8:ffff::1", "fd00:2::1"}) {
    EXPECT_EQ(Connect(network.pod(), At(ip, 80)), "web") << ip;
    EXPECT_EQ(Connect(network.pod(), At(ip, 53), {.transport = Transport::kUdp}), "dns") << ip;
    EXPECT_EQ(Connect(network.pod(), At(ip, 81)), "refused") << ip;
  }
}

TEST_F(SupportTest, WorldReachesThePodAndAPodItself) {
  const PodNetwork network;
  const Listeners pod(network.pod(), {{.port = 8080}});
  for (const std::string_view ip : {"192.0.2.2", "192.0.3.2", "fd00:2::2", "fd00:3::2"}) {
    EXPECT_EQ(Connect(network.outside(), At(ip, 8080)), "direct") << ip;
    EXPECT_EQ(Connect(network.pod(), At(ip, 8080)), "direct") << ip;
  }
  EXPECT_EQ(Connect(network.pod(), At("127.0.0.6", 8080)), "direct");
  EXPECT_EQ(Connect(network.pod(), At("192.0.2.2", 8080), {.source = IpAddress::V4(127, 0, 0, 6)}),
            "direct");
  EXPECT_EQ(Connect(network.pod(), At("192.0.2.2", 8080), {.source = IpAddress::V4(9, 9, 9, 9)}),
            "error:99");  // EADDRNOTAVAIL
}

TEST_F(SupportTest, WithoutIpv6ThereIsNoWayOverIt) {
  const PodNetwork network(PodNetwork::Ipv6::kNo);
  const Listeners world(network.outside(), {{.port = 80}});
  EXPECT_EQ(Connect(network.pod(), At("198.51.100.1", 80)), "direct");
  EXPECT_EQ(Connect(network.pod(), At("2001:db8::1", 80)), "error:101");  // ENETUNREACH
}

TEST_F(SupportTest, SilenceIsATimeout) {
  const PodNetwork network;
  const ConnectOptions quick = {.timeout = std::chrono::milliseconds(50)};
  // Nobody answers neighbour discovery for this address.
  EXPECT_EQ(Connect(network.pod(), At("192.0.2.77", 80), quick), "timeout");
}

TEST_F(SupportTest, ServiceAddressIsSpreadOverTheServers) {
  const Cluster cluster(2);
  const Listeners one(cluster.server(1), {{.port = 80, .answer = "one"}});
  const Listeners two(cluster.server(2), {{.port = 80, .answer = "two"}});
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    EXPECT_EQ(Connect(cluster.client(), {Cluster::PodIp(2, family), 80}), "two");
    std::set<std::string> answers;
    // The server is random, so one of the two could be missed; but not in so many tries.
    for (int tries = 0; answers.size() < 2 && tries < 64; ++tries) {
      answers.insert(Connect(cluster.client(), {Cluster::ServiceIp(family), 80}));
    }
    EXPECT_THAT(answers, testing::ElementsAre("one", "two"));
  }
}

class RunCommandTest : public SupportTest {
 protected:
  CommandResult Run(const Command& command) { return RunCommand(here_, command); }
  netns::Namespace here_ = netns::Namespace::Current();
};

TEST_F(RunCommandTest, ReportsStatusAndOutput) {
  const auto result = Run({.argv = {"sh", "-c", "cat; echo \"$A\" >&2; exit 7"},
                           .environment = {"A=b"},
                           .input = "text"});
  EXPECT_EQ(result.exit_status, 7);
  EXPECT_EQ(result.out, "text");
  EXPECT_EQ(result.err, "b\n");
  EXPECT_FALSE(result.timed_out);
}

TEST_F(RunCommandTest, CountsTheCpuTimeOfTheProgram) {
  const auto busy =
      Run({.argv = {"sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"}});
  const auto idle = Run({.argv = {"true"}});
  EXPECT_GT(busy.cpu, 2 * idle.cpu);
  EXPECT_GE(busy.wall * 2, busy.cpu);
}

TEST_F(RunCommandTest, SaysWhatCannotBeStarted) {
  const auto result = Run({.argv = {"/nonexistent/program"}});
  EXPECT_EQ(result.exit_status, 127);
  EXPECT_THAT(result.err, HasSubstr("/nonexistent/program: No such file"));
}

TEST_F(RunCommandTest, EndsWhatTakesTooLong) {
  const auto result =
      Run({.argv = {"sh", "-c", "sleep 60 & wait"}, .timeout = std::chrono::milliseconds(50)});
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.exit_status, 128 + SIGKILL);
}

TEST_F(RunCommandTest, EndsWhatTheProgramLeavesBehind) {
  const auto result = Run({.argv = {"sh", "-c", "sleep 60 >/dev/null & echo $!"}});
  EXPECT_EQ(result.exit_status, 0);
  const auto is_gone = [pid = std::stoi(result.out)] {
    std::ifstream status("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(status, text);
    // Killed, but perhaps not yet reaped by init.
    return text.empty() || text.find(") Z ") != std::string::npos;
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!is_gone() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_TRUE(is_gone());
}

TEST_F(RunCommandTest, RefusesToWaitTwice) {
  Process process(here_, {.argv = {"true"}});
  EXPECT_EQ(process.Wait(std::chrono::seconds(60)).exit_status, 0);
  EXPECT_THROW(process.Wait(std::chrono::seconds(60)), std::logic_error);
  process.Signal(SIGKILL);  // signals nobody
}

TEST_F(RunCommandTest, GivesTheUserAndNoCapability) {
  const auto result =
      Run({.argv = {"sh", "-c", "id -u; id -g; id -G; grep CapEff /proc/self/status"},
           .who = {.uid = 1337, .gid = 1338, .groups = {7}}});
  EXPECT_EQ(result.out, "1337\n1338\n1338 7\nCapEff:\t0000000000000000\n");
}

TEST_F(RunCommandTest, GivesTheCapabilitiesThatAreAskedFor) {
  const Command command = {.argv = {"grep", "-E", "CapEff|CapBnd", "/proc/self/status"},
                           .capabilities = std::vector<int>{CAP_NET_ADMIN}};
  const std::string only_net_admin = "CapEff:\t0000000000001000\nCapBnd:\t0000000000001000\n";
  EXPECT_EQ(Run(command).out, only_net_admin);
  Command other_user = command;
  other_user.who = kApplication;
  EXPECT_EQ(Run(other_user).out, only_net_admin);
}

TEST_F(SupportTest, ProcessRunsBesideTheTestAndEndsWithItsObject) {
  const PodNetwork network;
  pid_t pid = 0;
  {
    Process process(network.pod(), {.argv = {"sh", "-c", "echo ready; exec sleep 60"}});
    pid = process.pid();
    EXPECT_TRUE(process.WaitForText("ready", std::chrono::seconds(60)));
    EXPECT_FALSE(process.WaitForText("never", std::chrono::milliseconds(5)));
    EXPECT_TRUE(process.Running());
    EXPECT_EQ(netns::Namespace::Open("pid:" + std::to_string(pid)).Identity(),
              network.pod().Identity());
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(SupportTest, ProcessEndsOnASignal) {
  Process process(netns::Namespace::Current(), {.argv = {"sleep", "60"}});
  process.Signal(SIGTERM);
  const auto result = process.Wait(std::chrono::seconds(60));
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.exit_status, 128 + SIGTERM);
}

TEST_F(SupportTest, SavedRulesLeavesOutWhatChanges) {
  const netns::Namespace fresh = netns::Namespace::CreateAnonymous();
  EXPECT_EQ(SavedRules(fresh, Family::kIpv4), "");
  const auto added = RunCommand(fresh, {.argv = {"iptables-legacy", "-t", "nat", "-A", "OUTPUT",
                                                 "-p", "tcp", "-j", "RETURN"}});
  ASSERT_EQ(added.exit_status, 0) << added.err;
  EXPECT_EQ(SavedRules(fresh, Family::kIpv4),
            "*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n"
            "-A OUTPUT -p tcp -j RETURN\nCOMMIT\n");
  EXPECT_EQ(SavedRules(fresh, Family::kIpv6), "");
}

TEST_F(SupportTest, ListenersSayThatAPortIsTaken) {
  const PodNetwork network;
  const Listeners first(network.pod(), {{.port = 80}});
  try {
    const Listeners second(network.pod(), {{.port = 80}});
    FAIL() << "two listeners on one port";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), StartsWith("cannot listen (0.0.0.0:80): Address already in use"));
  }
}

}  // namespace
}  // namespace sluice::testing_support
