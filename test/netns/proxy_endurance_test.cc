// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// A million short connections through one proxy: neither memory nor descriptors may grow.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/parse.h"
#include "netns/sysctl.h"
#include "test/netns/proxy_fixture.h"
#include "test/netns/short_connections.h"

namespace sluice::testing_support {
namespace {

// Concurrent connections: enough to keep the proxy busy, few enough to be answered at once.
constexpr std::size_t kAtOnce = 64;

// Each port has its own range of source ports, so that there is never a wait for one.
constexpr std::size_t kPorts = 8;

// Half a byte per connection for a million, 21 for 25,000: any leak per connection is larger, as
// the smallest piece of the heap has 32.
constexpr long kNoiseKilobytes = 512;

// How many connections after the warm-up. A million takes a minute and a half of two CPUs, in the
// optimised build; with a sanitizer, or without optimisation, it is 25,000, unless
// SLUICE_ENDURANCE_CONNECTIONS says otherwise.
std::uint64_t Connections() {
  if (const char* const number = std::getenv("SLUICE_ENDURANCE_CONNECTIONS")) {
    return ParseNumber(number, 1, std::numeric_limits<std::uint32_t>::max());
  }
#ifdef NDEBUG
  return 1'000'000;
#else
  return 25'000;
#endif
}

// After this many everything has its final size: slabs, buffers, the allocator's arenas. 50,000
// before a million.
std::uint64_t WarmUp(std::uint64_t count) { return std::max<std::uint64_t>(count / 20, 5'000); }

// Whether memory can be compared: a sanitizer keeps freed memory, to detect its use; its own leak
// check finds leaks.
constexpr bool MemoryIsComparable() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#else
  return true;
#endif
}

struct Usage {
  long rss_kilobytes = 0;
  long anonymous_kilobytes = 0;  // the part not backed by files
  int descriptors = 0;
};

Usage UsageOf(const ProxyProcess& proxy) {
  Usage out{.descriptors = proxy.OpenDescriptors()};
  std::ifstream file("/proc/" + std::to_string(proxy.process().pid()) + "/smaps_rollup");
  for (std::string word; file >> word;) {
    if (word == "Rss:") file >> out.rss_kilobytes;
    if (word == "Anonymous:") file >> out.anonymous_kilobytes;
  }
  return out;
}

class EnduranceTest : public ProxyTest {
 protected:
  // Source ports and the kernel's tables must not limit the rate.
  static void WidenTables(const netns::Namespace& where);
  static std::uint64_t TrackedConnections(const netns::Namespace& where);
  // Makes this many connections; returns the most that the kernel tracked meanwhile.
  std::uint64_t MakeConnections(const EchoServer& echo, std::uint64_t count);
};

INSTANTIATE_TEST_SUITE_P(, EnduranceTest, testing::Values(Family::kIpv4), FamilyName);

void EnduranceTest::WidenTables(const netns::Namespace& where) {
  RunIn(where, kRoot, [] {
    netns::WriteSysctl("ipv4/ip_local_port_range", "16000 65000");
    // A port in TIME_WAIT is reused after a second, which timestamps make safe (RFC 6191).
    netns::WriteSysctl("ipv4/tcp_tw_reuse", "1");
    try {
      // Otherwise every connection is remembered for two minutes, and the table, of 262,144 entries
      // on such a machine, is full after ten seconds; the kernel then drops new ones.
      netns::WriteSysctl("netfilter/nf_conntrack_tcp_timeout_time_wait", "1");
    } catch (const Error&) {
      // Nothing is tracked in a namespace without rules.
    }
  });
}

std::uint64_t EnduranceTest::TrackedConnections(const netns::Namespace& where) {
  return CallIn(where, kRoot,
                [] { return std::stoull(netns::ReadSysctl("netfilter/nf_conntrack_count")); });
}

std::uint64_t EnduranceTest::MakeConnections(const EchoServer& echo, std::uint64_t count) {
  std::vector<SocketAddress> targets;
  for (const std::uint16_t port : echo.ports()) targets.push_back(ServerAt(port));
  const ShortConnections load(cluster_->node(), targets, kAtOnce, count);
  std::uint64_t most_tracked = 0;
  // A load that is stuck ends after kPatience.
  while (!load.done()) {
    most_tracked = std::max(most_tracked, TrackedConnections(server()));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_EQ(load.served(), count);
  EXPECT_EQ(load.refused() + load.lost(), 0U);
  EXPECT_TRUE(Eventually([&] {
    return server_proxy_->Metric("sluice_tcp_connections_active{reporter=\"destination\"}") == 0;
  }));
  return most_tracked;
}

TEST_P(EnduranceTest, AMillionShortConnectionsWithoutGrowth) {
  for (const netns::Namespace* where : {&cluster_->node(), &server()}) WidenTables(*where);
  // The access log is written as in production, but not kept in memory, as standard output is here.
  StartServerProxy({"--access-log=/dev/null"});
  const EchoServer echo(server(), GetParam(), kPorts);
  const std::uint64_t count = Connections();
  MakeConnections(echo, WarmUp(count));
  const Usage before = UsageOf(*server_proxy_);

  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t tracked = MakeConnections(echo, count);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;

  const Usage after = UsageOf(*server_proxy_);
  Report(
      fmt::format("{} connections: RSS {:.1f} -> {:.1f} MB ({} -> {} KB anonymous), descriptors "
                  "{} -> {}; {:.0f} a second, at most {} tracked by the kernel at once",
                  count, static_cast<double>(before.rss_kilobytes) / 1024,
                  static_cast<double>(after.rss_kilobytes) / 1024, before.anonymous_kilobytes,
                  after.anonymous_kilobytes, before.descriptors, after.descriptors,
                  static_cast<double>(count) / took.count(), tracked));
  // One may still belong to the last scrape.
  EXPECT_TRUE(Eventually([&] { return server_proxy_->OpenDescriptors() <= before.descriptors; }));
  if (MemoryIsComparable()) {
    EXPECT_LE(after.anonymous_kilobytes, before.anonymous_kilobytes + kNoiseKilobytes);
  }
  EXPECT_EQ(server_proxy_->Metric("istio_tcp_connections_opened_total{reporter=\"destination\"}"),
            static_cast<double>(WarmUp(count) + count));
}

class V6EnduranceTest : public EnduranceTest {
 protected:
  void MakeConnectionsToOnePort(std::uint64_t count) {
    StartServerProxy({"--access-log=/dev/null"});
    const EchoServer echo(server(), GetParam());
    MakeConnections(echo, count);
    EXPECT_EQ(server_proxy_->Metric("sluice_tcp_connections_failed_total{reporter=\"destination\","
                                    "reason=\"connect_other\"}"),
              0);
  }
};

INSTANTIATE_TEST_SUITE_P(, V6EnduranceTest, testing::Values(Family::kIpv6), FamilyName);

// More connections to one port, within a minute, than there are source ports: those of ::6 are
// reused although the kernel does not count ::6 as loopback. The kernel looks at all ports that are
// taken, which takes a minute of a CPU with its own range, 28,232 ports; so only a run of a million
// connections has that, and others a tenth of it.
TEST_P(V6EnduranceTest, MoreToOnePortThanThereAreSourcePorts) {
  WidenTables(cluster_->node());
  std::uint64_t count = 40'000;
  if (Connections() < 1'000'000) {
    count /= 10;
    RunIn(server(), kRoot, [] { netns::WriteSysctl("ipv4/ip_local_port_range", "32768 35591"); });
  }
  MakeConnectionsToOnePort(count);
}

// The kernel gives nobody a port that the proxy has named, while its connection is in TIME_WAIT. A
// look at the metrics is a connection of somebody else in the pod.
TEST_P(V6EnduranceTest, LeavesSourcePortsToOthers) {
  constexpr std::uint64_t kSourcePorts = 512;
  RunIn(server(), kRoot, [] { netns::WriteSysctl("ipv4/ip_local_port_range", "32768 33279"); });
  EXPECT_NO_THROW(MakeConnectionsToOnePort(4 * kSourcePorts));
}

}  // namespace
}  // namespace sluice::testing_support
