// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Where real connections land. The conformance set covers the reference tool's behaviour; this
// covers Sluice's additions, and known faults of such rules.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/capture_cases.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

const Credentials kUid3 = {.uid = 3, .gid = 3000};
const Credentials kUid4 = {.uid = 4, .gid = 4000};
const Credentials kGid202 = {.uid = 1000, .gid = 202};
const Credentials kGid888 = {.uid = 1000, .gid = 888};
const Credentials kUid1337 = {.uid = 1337, .gid = 1000};
const Credentials kGid1337 = {.uid = 1000, .gid = 1337};
const Credentials kSupplementary = {.uid = 1000, .gid = 1000, .groups = {1337}};
const Credentials kUid2000 = {.uid = 2000, .gid = 2000};

constexpr const char* kOut = "out15001";
constexpr const char* kIn = "in15006";
constexpr const char* kAgent = "dns15053";
constexpr const char* kDirect = "direct";

// One connection, and where it must land.
struct Probe {
  const char* description;
  const char* to;
  std::uint16_t port;
  const char* lands;
  Credentials who = kApplication;
  Transport transport = Transport::kTcp;
  bool from_outside = false;
};

Probe In(const char* description, const char* to, std::uint16_t port, const char* lands) {
  return {description, to, port, lands, kApplication, Transport::kTcp, true};
}

class InitCapture : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  void Apply(std::vector<std::string> args) {
    const auto result = RunInit(network_.pod(), std::move(args));
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }
  void ApplyCase(const std::string& name) {
    const auto result = RunCase(network_.pod(), FindCase(name));
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }

  void Expect(const std::vector<Probe>& probes) {
    for (const Probe& probe : probes) {
      const auto& from = probe.from_outside ? network_.outside() : network_.pod();
      EXPECT_EQ(Connect(from, {IpAddress::Parse(probe.to), probe.port},
                        {.who = probe.who, .transport = probe.transport}),
                probe.lands)
          << probe.description << " (" << probe.to << " port " << probe.port << ")";
    }
  }

  static std::vector<NamedPort> PodPorts(bool transparent) {
    std::vector<NamedPort> ports = {{.port = 15001, .answer = kOut},
                                    {.port = 15006, .answer = kIn, .transparent = transparent},
                                    {.port = 15053, .answer = kAgent},
                                    {.port = 15053, .answer = kAgent, .transport = Transport::kUdp},
                                    {.port = 8888, .answer = "foreign"}};
    for (const int port : {53, 80, 81, 8080, 8500, 15008, 15020, 15021, 15090}) {
      ports.push_back({.port = static_cast<std::uint16_t>(port)});
    }
    return ports;
  }
  static std::vector<NamedPort> OutsidePorts() {
    std::vector<NamedPort> ports = {{.port = 53, .transport = Transport::kUdp}};
    for (const int port : {22, 53, 80, 443, 8500, 9000, 9050, 9099, 9100}) {
      ports.push_back({.port = static_cast<std::uint16_t>(port)});
    }
    return ports;
  }

  PodNetwork network_;
  Listeners world_{network_.outside(), OutsidePorts()};
};

class InitRedirect : public InitCapture {
  Listeners pod_{network_.pod(), PodPorts(false)};
};

TEST_F(InitRedirect, TheManifestsLineInBothFamilies) {
  ApplyCase("current-manifest");
  Expect({
      {"outbound is captured", "198.51.100.1", 80, kOut},
      {"whatever the port", "203.0.113.9", 9000, kOut},
      {"root's, too", "198.51.100.1", 80, kOut, kRoot},
      {"over IPv6", "2001:db8::1", 443, kOut},
      {"the proxy escapes", "198.51.100.1", 80, kDirect, kProxy},
      {"over IPv6", "2001:db8::1", 80, kDirect, kProxy},
      {"by its uid alone", "198.51.100.1", 80, kDirect, kUid1337},
      {"by its gid alone", "198.51.100.1", 80, kDirect, kGid1337},
      {"not by a supplementary group", "198.51.100.1", 80, kOut, kSupplementary},
      {"a local call stays", "127.0.0.1", 80, kDirect},
      {"over IPv6", "::1", 80, kDirect},
      {"an application's call of its own pod stays", "192.0.2.2", 80, kDirect},
      {"over IPv6", "fd00:2::2", 80, kDirect},
      {"the proxy's call of its own pod is inbound", "192.0.2.2", 80, kIn, kProxy},
      {"over IPv6", "fd00:2::2", 80, kIn, kProxy},
      {"but for the tunnel", "192.0.2.2", 15008, kDirect, kProxy},
      {"UDP is not captured", "198.51.100.1", 53, kDirect, kApplication, Transport::kUdp},
      In("inbound is captured", "192.0.2.2", 80, kIn),
      In("on every interface", "192.0.3.2", 8080, kIn),
      In("over IPv6", "fd00:2::2", 80, kIn),
      In("but for an excluded port", "192.0.2.2", 15020, kDirect),
      In("over IPv6", "fd00:2::2", 15090, kDirect),
      In("and the tunnel", "192.0.2.2", 15008, kDirect),
  });
}

TEST_F(InitRedirect, PassthroughConnectionsAreNotCapturedAgain) {
  ApplyCase("current-manifest");
  const ConnectOptions from_v4 = {.who = kProxy, .source = IpAddress::V4(127, 0, 0, 6)};
  const ConnectOptions from_v6 = {.who = kProxy, .source = IpAddress::Parse("::6")};
  EXPECT_EQ(Connect(network_.pod(), {IpAddress::Parse("192.0.2.2"), 80}, from_v4), kDirect);
  EXPECT_EQ(Connect(network_.pod(), {IpAddress::Parse("fd00:2::2"), 80}, from_v6), kDirect);
}

TEST_F(InitRedirect, PortRanges) {
  ApplyCase("port-ranges");  // -i "" -b 8000-8999,80 -q 443,9000-9099 -o 22,31000-31999
  Expect({
      In("the first port", "192.0.2.2", 80, kIn),
      In("inside a range", "192.0.2.2", 8080, kIn),
      In("outside of all", "192.0.2.2", 81, kDirect),
      {"a single port", "198.51.100.1", 443, kOut},
      {"the first of a range", "198.51.100.1", 9000, kOut},
      {"its middle", "2001:db8::1", 9050, kOut},
      {"its last", "198.51.100.1", 9099, kOut},
      {"behind it", "198.51.100.1", 9100, kDirect},
      {"an excluded one", "198.51.100.1", 22, kDirect},
  });
  ApplyCase("exclude-port-ranges");  // -d 15090,15020-15021 -o 9000-9099
  Expect({
      In("excluded", "192.0.2.2", 15021, kDirect),
      In("not excluded", "192.0.2.2", 80, kIn),
      {"excluded", "198.51.100.1", 9099, kDirect},
      {"not excluded", "198.51.100.1", 9100, kOut},
  });
}

// Every proxy user's calls to its own pod are captured, and so are those by group only.
TEST_F(InitRedirect, EveryProxyUserAndGroupReachesItsOwnPod) {
  ApplyCase("multi-uid");  // -u 3,4 -g 3000,4000
  for (const Credentials& who :
       {kUid3, kUid4, Credentials{.uid = 3, .gid = 1}, Credentials{.uid = 4, .gid = 1},
        Credentials{.uid = 9, .gid = 4000}}) {
    Expect({{"its own pod", "192.0.2.2", 80, kIn, who},
            {"over IPv6", "fd00:2::2", 80, kIn, who},
            {"elsewhere", "198.51.100.1", 80, kDirect, who}});
  }
  Expect({{"1337 is nobody here", "198.51.100.1", 80, kOut, kProxy}});
  ApplyCase("other-gid");  // -u 1337 -g 888
  Expect({{"by its gid alone", "192.0.2.2", 80, kIn, kGid888},
          {"elsewhere", "198.51.100.1", 80, kDirect, kGid888}});
}

TEST_F(InitRedirect, RangesOfDestinations) {
  ApplyCase("v6-cidrs");  // -i 2001:db8::/48,198.51.100.0/24 -x 2001:db8:ffff::/48
  Expect({{"included", "198.51.100.1", 80, kOut},
          {"not included", "203.0.113.9", 80, kDirect},
          {"included", "2001:db8::1", 80, kOut},
          {"excluded", "2001:db8:ffff::1", 80, kDirect}});
  ApplyCase("outbound-exclude-cidr");  // -x 203.0.113.0/24,192.0.2.0/24
  Expect({{"excluded", "203.0.113.9", 80, kDirect},
          {"excluded", "192.0.2.1", 80, kDirect},
          {"not excluded", "192.0.3.1", 80, kOut},
          {"not excluded", "2001:db8::1", 80, kOut}});
}

// A tree of chains for these ranges and sixty more.
TEST_F(InitRedirect, LongListsOfRanges) {
  Apply({"-i", "*", "-x",
         ManyHosts(Family::kIpv4, 60) + ",203.0.113.0/24,2001:db8:ffff::/48," +
             ManyHosts(Family::kIpv6, 60),
         "-o", "22", "-q", "443"});
  Expect({{"in the list", "203.0.113.9", 80, kDirect},
          {"in the list, with a port to capture", "203.0.113.9", 443, kDirect},
          {"in the list", "2001:db8:ffff::1", 80, kDirect},
          {"not in the list", "198.51.100.1", 80, kOut},
          {"not in the list, with a port to capture", "198.51.100.1", 443, kOut},
          {"not in the list", "2001:db8::1", 80, kOut},
          {"an excluded port", "198.51.100.1", 22, kDirect}});
  Apply({"-i", ManyHosts(Family::kIpv4, 60) + ",203.0.113.0/24"});
  Expect({{"in the list", "203.0.113.9", 80, kOut},
          {"not in the list", "198.51.100.1", 80, kDirect},
          {"another family", "2001:db8::1", 80, kDirect}});
}

TEST_F(InitRedirect, OtherUsersAndGroups) {
  Apply({"-i", "*", "--exclude-uids", "2000", "--exclude-gids", "202"});
  Expect({{"an excluded user", "198.51.100.1", 80, kDirect, kUid2000},
          {"over IPv6", "2001:db8::1", 80, kDirect, kUid2000},
          {"an excluded group", "198.51.100.1", 80, kDirect, kGid202},
          {"another user", "198.51.100.1", 80, kOut},
          {"an excluded user's own pod is not captured", "192.0.2.2", 80, kDirect, kUid2000}});
  ApplyCase("owner-groups-include");  // 202,888
  Expect({{"a group", "198.51.100.1", 80, kOut, kGid202},
          {"a group", "2001:db8::1", 80, kOut, kGid888},
          {"no group", "198.51.100.1", 80, kDirect},
          {"the proxy", "198.51.100.1", 80, kDirect, kProxy}});
  ApplyCase("owner-groups-exclude");
  Expect({{"an excluded group", "198.51.100.1", 80, kDirect, kGid202},
          {"another one", "198.51.100.1", 80, kOut}});
}

// Traffic excluded from capture still passes through all foreign rules.
TEST_F(InitRedirect, ExcludedInterfacesDoNotSkipForeignRules) {
  ApplyCase("exclude-interface");  // -c eth1
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    Iptables(network_.pod(), family,
             "-t nat -A OUTPUT -o eth1 -p tcp --dport 443 -j REDIRECT --to-ports 8888");
    Iptables(network_.pod(), family,
             "-t nat -A PREROUTING -i eth1 -p tcp --dport 81 -j REDIRECT --to-ports 8888");
  }
  Expect({{"by the other interface", "198.51.100.1", 80, kOut},
          {"by the excluded one", "192.0.3.1", 80, kDirect},
          {"by the excluded one, for a foreign rule", "192.0.3.1", 443, "foreign"},
          {"over IPv6", "fd00:3::1", 80, kDirect},
          {"over IPv6, for a foreign rule", "fd00:3::1", 443, "foreign"},
          In("by the other interface", "192.0.2.2", 80, kIn),
          In("by the excluded one", "192.0.3.2", 80, kDirect),
          In("by the excluded one, for a foreign rule", "192.0.3.2", 81, "foreign"),
          In("over IPv6", "fd00:3::2", 80, kDirect)});
}

TEST_F(InitRedirect, IncludedInterfaces) {
  ApplyCase("include-interfaces");  // eth1,net+
  Expect({{"by another interface", "198.51.100.1", 80, kDirect},
          {"by an included one", "192.0.3.1", 80, kOut},
          {"over IPv6", "fd00:3::1", 80, kOut},
          {"the proxy's call of its own pod", "192.0.2.2", 80, kIn, kProxy},
          In("by another interface", "192.0.2.2", 80, kDirect),
          In("by an included one", "192.0.3.2", 80, kIn),
          In("over IPv6", "fd00:3::2", 80, kIn)});
  ApplyCase("include-and-exclude-interfaces");  // eth+ without eth1
  Expect({{"included", "198.51.100.1", 80, kOut},
          {"included and excluded", "192.0.3.1", 80, kDirect},
          In("included", "192.0.2.2", 80, kIn),
          In("included and excluded", "192.0.3.2", 80, kDirect)});
}

TEST_F(InitRedirect, SourcesToLeaveAlone) {
  ApplyCase("inbound-exclude-cidr");  // 192.0.3.0/24,fd00:3::/64
  Expect({In("another source", "192.0.2.2", 80, kIn),
          In("an excluded one", "192.0.3.2", 80, kDirect),
          In("another source", "fd00:2::2", 80, kIn),
          In("an excluded one", "fd00:3::2", 80, kDirect)});
}

TEST_F(InitRedirect, VirtualMachinesBehindAnInterface) {
  ApplyCase("virt-and-cidrs");  // -i 198.51.100.0/24,2001:db8::/48 -k eth1,tap+
  // Traffic from there leaves the pod for these ranges, which do not include the pod's own address.
  Expect({In("not a range to capture", "192.0.3.2", 80, kDirect),
          In("another interface", "192.0.2.2", 80, kIn),
          {"the pod's own", "198.51.100.1", 80, kOut}});
}

TEST_F(InitRedirect, LoopbackThatIsNamedIsCaptured) {
  ApplyCase("loopback-included");  // -i 127.1.2.3/32
  Expect({{"the named one", "127.1.2.3", 80, kOut},
          {"another one", "127.0.0.1", 80, kDirect},
          {"the proxy's", "127.1.2.3", 80, kIn, kProxy}});
}

TEST_F(InitRedirect, NothingIsCapturedByDefaultNorAfterCleanUp) {
  const std::vector<Probe> untouched = {{"outbound", "198.51.100.1", 80, kDirect},
                                        {"over IPv6", "2001:db8::1", 80, kDirect},
                                        In("inbound", "192.0.2.2", 80, kDirect),
                                        In("over IPv6", "fd00:2::2", 80, kDirect)};
  ApplyCase("defaults");
  Expect(untouched);
  ApplyCase("everything");
  Apply({"--cleanup-only"});
  Expect(untouched);
}

TEST_F(InitRedirect, Dns) {
  const auto dns = [](const char* description, const char* to, const char* lands,
                      const Credentials& who, Transport transport) {
    return Probe{description, to, 53, lands, who, transport};
  };
  ApplyCase("dns-resolvconf");  // 10.96.0.10 and 2001:db8::1
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    const bool udp = transport == Transport::kUdp;
    Expect({dns("the resolver", "10.96.0.10", kAgent, kApplication, transport),
            dns("over IPv6", "2001:db8::1", kAgent, kApplication, transport),
            dns("another server", "198.51.100.1", udp ? kDirect : kOut, kApplication, transport),
            dns("the agent's own", "10.96.0.10", kDirect, kProxy, transport),
            dns("over IPv6", "2001:db8::1", kDirect, kProxy, transport),
            dns("by its gid alone", "10.96.0.10", kDirect, kGid1337, transport)});
  }
  ApplyCase("dns-all-v6");
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    Expect({dns("any server", "198.51.100.1", kAgent, kApplication, transport),
            dns("over IPv6", "2001:db8:ffff::1", kAgent, kApplication, transport),
            dns("the agent's own", "198.51.100.1", kDirect, kProxy, transport)});
  }
  // The agent's query to a resolver on a local address, by uid and by gid.
  Expect({{"by uid", "192.0.2.2", 53, kDirect, kUid1337},
          {"by gid", "192.0.2.2", 53, kDirect, kGid1337},
          {"the application's", "192.0.2.2", 53, kAgent}});
}

class InitTproxy : public InitCapture {
 protected:
  // TPROXY keeps a connection's original destination: the listener reports the client that the
  // application would see.
  Listeners pod_{network_.pod(), PodPorts(true)};
};

TEST_F(InitTproxy, InboundAndOutbound) {
  ApplyCase("tproxy-dual");  // -d 15020
  Expect({In("inbound", "192.0.2.2", 80, kIn),
          In("on the other interface", "192.0.3.2", 8080, kIn),
          In("over IPv6", "fd00:2::2", 80, kIn),
          In("an excluded port", "192.0.2.2", 15020, kDirect),
          {"outbound is redirected as ever", "198.51.100.1", 80, kOut},
          {"over IPv6", "2001:db8::1", 80, kOut},
          {"the proxy escapes", "198.51.100.1", 80, kDirect, kProxy},
          {"a local call stays", "127.0.0.1", 80, kDirect},
          {"an application's call of its own pod stays", "192.0.2.2", 80, kDirect},
          {"the proxy's call of its own pod is inbound", "192.0.2.2", 80, kIn, kProxy},
          {"over IPv6", "fd00:2::2", 80, kIn, kProxy}});
}

TEST_F(InitTproxy, OtherMarkAndTable) {
  ApplyCase("tproxy-custom-mark");
  Expect({In("inbound", "192.0.2.2", 80, kIn), In("over IPv6", "fd00:2::2", 80, kIn),
          In("an excluded port", "192.0.2.2", 15020, kDirect)});
}

TEST_F(InitTproxy, DropInvalidLeavesGoodPacketsAlone) {
  ApplyCase("tproxy-drop-invalid");
  Expect({In("inbound", "192.0.2.2", 80, kIn), {"outbound", "198.51.100.1", 80, kOut}});
}

}  // namespace
}  // namespace sluice::testing_support
