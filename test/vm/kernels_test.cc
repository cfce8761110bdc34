// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What Sluice does on kernels that lack something. Each suite is for one such kernel, which
// CMakeLists.txt boots in a virtual machine (test/vm/run), and is not for the machine that builds.

#include <linux/capability.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/memory_group.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Words = std::vector<std::string>;

constexpr auto kDual = PodNetwork::Ipv6::kYes;
constexpr auto kV4Only = PodNetwork::Ipv6::kNo;

Words operator+(Words one, const Words& other) {
  one.insert(one.end(), other.begin(), other.end());
  return one;
}

// A pod, captured as today's manifests do, with one port and one range left out.
const Words kManifest = {"-p", "15001",       "-z", "15006", "-u", "1337",
                         "-m", "REDIRECT",    "-i", "*",     "-b", "*",
                         "-d", "15090,15020", "-o", "22",    "-x", "203.0.113.0/24"};
const Words kIptables = {"--backend", "iptables"};
const Words kNftables = {"--backend", "nftables"};
const Words kDns = {"--redirect-dns", "--capture-all-dns"};
const Words kTproxy = {"-m", "TPROXY"};
const Words kListening = {"--capture-listening"};

class KernelTest : public testing::Test {
 protected:
  explicit KernelTest(PodNetwork::Ipv6 ipv6 = kDual) : ipv6_(ipv6), network_(ipv6) {}

  const netns::Namespace& pod() const { return network_.pod(); }
  const netns::Namespace& world() const { return network_.outside(); }

  CommandResult Run(const Words& more) { return RunInit(pod(), kManifest + more); }

  // Applies the configuration; returns what was reported.
  std::string Apply(const Words& more) {
    const CommandResult result = Run(more);
    EXPECT_EQ(result.exit_status, 0) << result.err;
    return result.err;
  }

  // The configuration cannot be applied here, and nothing is left; returns the message.
  std::string Refused(const Words& more) {
    const std::string before = Show();
    const CommandResult result = Run(more);
    EXPECT_EQ(result.exit_status, 4) << result.err;
    EXPECT_EQ(Show(), before);
    return result.err;
  }

  // The installed rules of both backends, as far as there are any.
  std::string Show() {
    const CommandResult result = RunInit(pod(), {"show"});
    EXPECT_EQ(result.exit_status, 0) << result.err;
    return result.out;
  }

  // Where connections land, for kManifest and whatever it is applied by.
  void Landings() {
    struct Landing {
      const netns::Namespace& from;
      Credentials who;
      const char* ip;
      std::uint16_t port;
      const char* lands;
    };
    const Credentials group = {.uid = 1000, .gid = kProxyId};
    const std::vector<Landing> landings = {
        {pod(), kApplication, "198.51.100.1", 80, "out15001"},
        {pod(), kRoot, "198.51.100.1", 80, "out15001"},
        {pod(), kProxy, "198.51.100.1", 80, "direct"},
        {pod(), group, "198.51.100.1", 80, "direct"},
        {pod(), kApplication, "198.51.100.1", 22, "direct"},
        {pod(), kApplication, "203.0.113.9", 80, "direct"},
        {pod(), kApplication, "127.0.0.1", 8080, "application"},
        {pod(), kApplication, "192.0.2.2", 8080, "application"},
        {pod(), kProxy, "192.0.2.2", 8080, "in15006"},
        {world(), kApplication, "192.0.2.2", 8080, "in15006"},
        {world(), kApplication, "192.0.2.2", 15020, "probe"},
        {pod(), kApplication, "2001:db8::1", 80, "out15001"},
        {pod(), kProxy, "2001:db8::1", 80, "direct"},
        {pod(), kApplication, "2001:db8::1", 22, "direct"},
        {world(), kApplication, "fd00:2::2", 8080, "in15006"},
        {world(), kApplication, "fd00:2::2", 15020, "probe"},
    };
    const Listeners inside(pod(), {{.port = 15001, .answer = "out15001"},
                                   {.port = 15006, .answer = "in15006", .transparent = true},
                                   {.port = 8080, .answer = "application"},
                                   {.port = 15020, .answer = "probe"}});
    const Listeners outside(world(), {{.port = 80}, {.port = 22}});
    for (const Landing& each : landings) {
      const IpAddress ip = IpAddress::Parse(each.ip);
      if (ip.family() == Family::kIpv6 && ipv6_ == kV4Only) continue;
      EXPECT_EQ(Connect(each.from, {ip, each.port}, {.who = each.who}), each.lands)
          << each.who.uid << ":" << each.who.gid << " to " << each.ip << ":" << each.port;
    }
  }

  // A connection of each direction and family through sluice-proxy, which sees where it was going.
  void ThroughTheProxy(const Words& flags = {}, const ProxySetting& setting = {}) {
    ProxyProcess proxy(pod(), flags, setting);
    ASSERT_TRUE(proxy.WaitReady()) << proxy.process().Err();
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      const bool v4 = family == Family::kIpv4;
      if (!v4 && ipv6_ == kV4Only) continue;
      Exchange(proxy, pod(), world(), IpAddress::Parse(v4 ? "198.51.100.1" : "2001:db8::1"));
      Exchange(proxy, world(), pod(), IpAddress::Parse(v4 ? "192.0.2.2" : "fd00:2::2"));
    }
    EXPECT_EQ(proxy.process().Wait(std::chrono::milliseconds(0)).timed_out, true) << "it runs";
  }

  // Apply, apply again, connect, and clean up, with one backend.
  void Life(const Words& backend) {
    const std::string fresh = Show();
    EXPECT_THAT(Apply(backend), HasSubstr("backend: " + backend.back()));
    EXPECT_THAT(Show(), HasSubstr("ISTIO_OUTPUT"));
    Landings();
    EXPECT_THAT(Apply(backend), HasSubstr("nothing written"));
    ThroughTheProxy();
    const CommandResult cleaned = RunInit(pod(), {"--cleanup-only"});
    EXPECT_EQ(cleaned.exit_status, 0) << cleaned.err;
    EXPECT_THAT(Show(), Not(HasSubstr("ISTIO_")));
  }

 private:
  static void Exchange(ProxyProcess& proxy, const netns::Namespace& from,
                       const netns::Namespace& to, const IpAddress& ip) {
    Acceptor acceptor(to, ip.family());
    auto client = Peer::Connect(from, {ip, acceptor.port()});
    ASSERT_TRUE(client) << ip;
    auto server = acceptor.Accept();
    ASSERT_TRUE(server) << ip;
    EXPECT_TRUE(client->Send("hello"));
    EXPECT_EQ(server->Receive(5), "hello");
    EXPECT_TRUE(server->Send("good day"));
    server->Close();
    End end{};
    EXPECT_EQ(client->ReceiveAll(end), "good day");
    EXPECT_EQ(end, End::kFin);
    client->Close();
    const auto line = proxy.LogLineTo({ip, acceptor.port()});
    EXPECT_EQ(line.at("bytes_sent"), 8);
  }

  PodNetwork::Ipv6 ipv6_;
  PodNetwork network_;
};

// --- nothing is missing; x_tables is loaded ---

class Everything : public KernelTest {};

TEST_F(Everything, Iptables) { Life(kIptables); }
TEST_F(Everything, Nftables) { Life(kNftables); }

TEST_F(Everything, TheLoadedBackendIsTaken) {
  EXPECT_THAT(Apply({}), HasSubstr("backend: iptables (the kernel uses x_tables)"));
}

TEST_F(Everything, TproxyAndDns) {
  for (const Words& backend : {kIptables, kNftables}) {
    Apply(backend + kTproxy + kDns);
    Landings();
    ThroughTheProxy({"--mode=TPROXY"}, {.capabilities = std::vector<int>{CAP_NET_ADMIN}});
    const Listeners agent(pod(), {{.port = 15053, .answer = "dns", .transport = Transport::kUdp}});
    EXPECT_EQ(Connect(pod(), {IpAddress::Parse("10.96.0.10"), 53},
                      {.who = kApplication, .transport = Transport::kUdp}),
              "dns");
  }
}

TEST_F(Everything, ClosedPortsRefuse) {
  for (const Words& backend : {kIptables, kNftables}) {
    Apply(backend + kListening + Words{"--run-validation", "--rollback-on-failed-validation"});
    Landings();
    for (const char* const ip : {"192.0.2.2", "fd00:2::2"}) {
      const Listeners proxy(pod(), {{.port = 15006, .answer = "in15006"}});
      EXPECT_EQ(Connect(world(), {IpAddress::Parse(ip), 8080}, {}), "refused") << ip;
    }
  }
}

TEST_F(Everything, Validates) {
  for (const Words& backend : {kIptables, kNftables}) {
    Apply(backend + Words{"--run-validation", "--rollback-on-failed-validation"});
  }
}

// --- parts are missing ---

class NoIptables : public KernelTest {};

TEST_F(NoIptables, NftablesIsTaken) {
  EXPECT_THAT(Apply({}), HasSubstr("backend: nftables (the kernel does not use x_tables)"));
  Landings();
}
TEST_F(NoIptables, Nftables) { Life(kNftables); }
TEST_F(NoIptables, IptablesIsRefused) {
  EXPECT_THAT(Refused(kIptables), HasSubstr("the kernel has no legacy x_tables nat table; load the "
                                            "modules on the node: modprobe ip_tables iptable_nat"));
}

class NoNftables : public KernelTest {};

TEST_F(NoNftables, IptablesIsTaken) {
  EXPECT_THAT(Apply({}), HasSubstr("backend: iptables (the kernel uses x_tables)"));
  Landings();
}
TEST_F(NoNftables, Iptables) { Life(kIptables); }
TEST_F(NoNftables, NftablesIsRefused) {
  EXPECT_THAT(Refused(kNftables), HasSubstr("the kernel has no nf_tables"));
  EXPECT_THAT(Refused(kNftables), HasSubstr("load the module nf_tables"));
}

class Neither : public KernelTest {};

TEST_F(Neither, BothAreNamed) {
  const std::string message = Refused({});
  EXPECT_THAT(message, HasSubstr("modprobe ip_tables iptable_nat"));
  EXPECT_THAT(message, HasSubstr("nftables: the kernel has no nf_tables"));
  // There is nothing to clean up.
  EXPECT_EQ(RunInit(pod(), {"--cleanup-only"}).exit_status, 0);
}

class NoOwner : public KernelTest {};

TEST_F(NoOwner, IptablesNamesTheModule) {
  EXPECT_THAT(Refused(kIptables), HasSubstr("the kernel lacks the owner match; load on the node: "
                                            "modprobe xt_owner"));
}
TEST_F(NoOwner, Nftables) { Life(kNftables); }
TEST_F(NoOwner, NftablesIsTaken) {
  EXPECT_THAT(Apply({}),
              HasSubstr("nftables (x_tables lacks something: the kernel lacks the owner match"));
  Landings();
  EXPECT_THAT(Apply({}), HasSubstr("nftables: in place"));
}

class NoRaw : public KernelTest {};

TEST_F(NoRaw, DnsIsCapturedAllTheSame) {
  EXPECT_THAT(Apply(kIptables + kDns), HasSubstr("iptable_raw"));
  Landings();
  EXPECT_THAT(Apply(kNftables + kDns), Not(HasSubstr("raw")));
  Landings();
}

// Zones themselves cannot be left out of Debian's kernel; the target and the expression can.
class NoZones : public KernelTest {};

TEST_F(NoZones, Iptables) {
  const std::string message = Apply(kIptables + kDns);
  EXPECT_THAT(message,
              HasSubstr("warning: cannot commit the raw table (IPv4): the kernel lacks the CT "
                        "target; load on the node: modprobe xt_CT; DNS is captured"));
  Landings();
}
TEST_F(NoZones, Nftables) {
  Apply(kNftables);
  Landings();
  EXPECT_THAT(Refused(kNftables + kDns), HasSubstr("load nft_ct"));
}

class NoTproxy : public KernelTest {};

TEST_F(NoTproxy, Iptables) {
  EXPECT_THAT(Refused(kIptables + kTproxy), HasSubstr("modprobe xt_TPROXY"));
  Apply(kIptables);
  Landings();
}
TEST_F(NoTproxy, BothAreNamed) {
  EXPECT_THAT(Refused(kTproxy),
              AllOf(HasSubstr("load nft_tproxy"),
                    HasSubstr("; and iptables: the kernel lacks the TPROXY target")));
}
TEST_F(NoTproxy, Nftables) {
  EXPECT_THAT(Refused(kNftables + kTproxy), HasSubstr("load nft_tproxy"));
  Apply(kNftables);
  Landings();
}

class NoSocket : public KernelTest {};

TEST_F(NoSocket, Iptables) {
  EXPECT_THAT(Refused(kIptables + kListening),
              HasSubstr("the kernel lacks the socket match; load on the node: modprobe xt_socket"));
  Apply(kIptables);
  Landings();
}
TEST_F(NoSocket, Nftables) {
  EXPECT_THAT(Refused(kNftables + kListening), HasSubstr("load nft_socket"));
  Apply(kNftables);
  Landings();
}

// --- without IPv6 ---

// ipv6.disable=1
class NoIpv6 : public KernelTest {
 protected:
  NoIpv6() : KernelTest(kV4Only) {}
};

TEST_F(NoIpv6, Iptables) { Life(kIptables); }
TEST_F(NoIpv6, Nftables) { Life(kNftables); }
TEST_F(NoIpv6, IsRefusedWhenAskedFor) {
  for (const Words& backend : {kIptables, kNftables}) {
    EXPECT_THAT(Refused(backend + Words{"--ipv6", "on"}),
                testing::MatchesRegex(".*: the kernel has no IPv6; pass --ipv6 off to leave .*\n"));
  }
}

// net.ipv6.conf.{all,default}.disable_ipv6=1, as many nodes have it.
class Ipv6Disabled : public KernelTest {
 protected:
  Ipv6Disabled() : KernelTest(kV4Only) {}
};

TEST_F(Ipv6Disabled, Iptables) { Life(kIptables); }
TEST_F(Ipv6Disabled, Nftables) { Life(kNftables); }

// --- containers ---

// A read-only root, no /sys, and in /proc only one's own processes.
class Container : public KernelTest {};

TEST_F(Container, NeedsNoneOfThat) {
  ASSERT_FALSE(std::ofstream("/etc/sluice").is_open());
  ASSERT_TRUE(std::filesystem::is_empty("/sys"));
  Life(kIptables);
  Life(kNftables);
}

// The limits of a container, in the hierarchy that today's nodes have. Two CPUs.
class CgroupV2 : public KernelTest {
 protected:
  // What a proxy makes of its limits: its threads, and how many connections it takes.
  std::pair<std::int64_t, double> Limits(const ProxySetting& setting) {
    ProxyProcess proxy(pod(), Words(), setting);
    EXPECT_TRUE(proxy.WaitReady()) << proxy.process().Err();
    const auto dump = boost::json::parse(proxy.Get(15000, "/config_dump").second);
    return {dump.at("concurrency").as_int64(), proxy.Metric("sluice_tcp_connections_limit")};
  }
};

TEST_F(CgroupV2, LimitsAreSeen) {
  Apply({});
  const auto unlimited = Limits({});
  std::optional<MemoryGroup> group = MemoryGroup::Make(16U << 20U);
  ASSERT_TRUE(group);
  const std::filesystem::path directory = std::filesystem::path(group->procs()).parent_path();
  ASSERT_TRUE(std::ofstream(directory / "cpu.max") << "50000 100000" << std::flush);
  const auto limited = Limits({.cgroup_procs = group->procs()});
  EXPECT_EQ(unlimited.first, 2);
  EXPECT_EQ(limited.first, 1);
  EXPECT_GT(limited.second, 0);
  EXPECT_LT(limited.second, unlimited.second);
  ThroughTheProxy({}, {.cgroup_procs = group->procs()});
  EXPECT_EQ(group->Kills(), 0U);
}

}  // namespace
}  // namespace sluice::testing_support
