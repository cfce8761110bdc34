// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The choice of the backend, changing from one to the other, and what matters to only one of
// them.

#include <linux/capability.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/rule.h"
#include "test/support/capture_cases.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class InitBackends : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  std::string Run(const CaptureCase& chosen, const std::vector<std::string>& more) {
    const auto result = RunCase(pod(), chosen, more);
    EXPECT_EQ(result.exit_status, 0) << result.err;
    return result.err;
  }

  static bool IsNft(const std::string& table) { return table.starts_with("nft "); }
  // The number of Sluice tables: in x_tables, and in nf_tables.
  std::pair<int, int> Tables() {
    std::pair<int, int> out;
    for (const auto& [name, text] : TakeSnapshot(pod()).tables) {
      ++(IsNft(name) ? out.second : out.first);
    }
    return out;
  }

  PodNetwork network_;
};

TEST_F(InitBackends, AutoStaysWhereTheRulesAre) {
  const CaptureCase& chosen = FindCase("seed-dual-stack");
  EXPECT_THAT(Run(chosen, {}), HasSubstr("backend: iptables (the kernel uses x_tables)"));
  EXPECT_EQ(Tables().second, 0);
  EXPECT_THAT(Run(chosen, {"--backend", "nftables"}), HasSubstr("backend: nftables (--backend)"));
  EXPECT_EQ(Tables().first, 0);
  EXPECT_THAT(Run(chosen, {}), HasSubstr("already in place, nothing written"));
  EXPECT_THAT(Run(FindCase("multi-uid"), {}), HasSubstr("backend: nftables (its rules are there)"));
  EXPECT_EQ(Tables().first, 0);
  EXPECT_THAT(RunInit(pod(), {"show"}).out,
              testing::StartsWith("# backend nftables: its rules are there\n"));
}

// An ordinary user with only CAP_NET_ADMIN, as with runAsNonRoot.
TEST_F(InitBackends, NftablesNeedsOneCapability) {
  const CaptureCase& chosen = FindCase("tproxy-dual");
  Command command = CaseCommand(chosen);
  command.who = kApplication;
  command.capabilities = {CAP_NET_ADMIN};
  const auto applied = RunCommand(pod(), command);
  EXPECT_EQ(applied.exit_status, 0) << applied.err;
  EXPECT_THAT(applied.err, HasSubstr("backend: nftables (x_tables needs CAP_NET_RAW"));
  EXPECT_EQ(TableNames(pod()), "") << "looking made a table";
  const auto again = RunCommand(pod(), command);
  EXPECT_THAT(again.err, HasSubstr("nothing written")) << again.err;
  command.argv = InitCommand({"--cleanup-only"}).argv;
  EXPECT_EQ(RunCommand(pod(), command).exit_status, 0);
  EXPECT_THAT(TakeSnapshot(pod()).tables, IsEmpty());

  command = CaseCommand(FindCase("seed-manifest"), {"--backend", "nftables"});
  command.capabilities = {CAP_NET_RAW};
  const auto refused = RunCommand(pod(), command);
  EXPECT_EQ(refused.exit_status, 3);
  EXPECT_THAT(refused.err, HasSubstr("missing CAP_NET_ADMIN; grant it: "
                                     "securityContext.capabilities.add: [NET_ADMIN] "));
  EXPECT_THAT(TakeSnapshot(pod()).tables, IsEmpty());
}

// A backend that the kernel lacks is not chosen; if both are missing, the error names both.
TEST_F(InitBackends, AutoTakesWhatTheKernelHas) {
  const Snapshot fresh = TakeSnapshot(pod());
  const auto run = [&](const std::string& without, const std::string& backend) {
    Command command = WithPreload(CaseCommand(FindCase("seed-manifest"), {"--backend", backend}),
                                  "libsluice_without_backend.so");
    command.environment.push_back("SLUICE_WITHOUT=" + without);
    return RunCommand(pod(), command);
  };
  for (const char* const backend : {"auto", "iptables", "nftables"}) {
    const auto result = run("x_tables nf_tables", backend);
    EXPECT_EQ(result.exit_status, 4) << backend << ": " << result.err;
    EXPECT_EQ(TakeSnapshot(pod()), fresh);
    if (backend == std::string("auto")) {
      EXPECT_THAT(result.err, HasSubstr("no legacy x_tables nat table"));
      EXPECT_THAT(result.err, HasSubstr("; and nftables: the kernel has no nf_tables (Protocol "));
    }
  }
  EXPECT_EQ(run("x_tables", "iptables").exit_status, 4);
  EXPECT_EQ(run("nf_tables", "nftables").exit_status, 4);
  EXPECT_EQ(TakeSnapshot(pod()), fresh);

  const auto nftables = run("x_tables", "auto");
  EXPECT_EQ(nftables.exit_status, 0) << nftables.err;
  EXPECT_THAT(nftables.err, HasSubstr("backend: nftables (the kernel does not use x_tables)"));
  EXPECT_EQ(RunInit(pod(), {"--cleanup-only"}).exit_status, 0);
  const auto iptables = run("nf_tables", "auto");
  EXPECT_EQ(iptables.exit_status, 0) << iptables.err;
  EXPECT_THAT(iptables.err, HasSubstr("backend: iptables (the kernel uses x_tables)"));
  EXPECT_GT(Tables().first, 0);
}

// As in a container with runAsNonRoot, allowPrivilegeEscalation: false and NET_ADMIN: the kernel
// leaves an ordinary user only the capabilities that the program's file has as well.
TEST_F(InitBackends, AFileCapabilityServesAContainerWithoutRoot) {
  const auto directory = std::filesystem::temp_directory_path() /
                         ("sluice-file-capability-" + std::to_string(getpid()));
  std::filesystem::create_directory(directory);
  Command command = CaseCommand(FindCase("tproxy-dual"), {"--backend", "nftables"});
  const auto program = directory / "sluice-init";
  std::filesystem::copy_file(command.argv[0], program);
  std::filesystem::permissions(directory, std::filesystem::perms(0755));
  command.who = kApplication;
  command.capabilities = {CAP_NET_ADMIN};
  command.only_by_its_file = true;
  const auto without = RunCommand(pod(), command);
  EXPECT_EQ(without.exit_status, 3);
  EXPECT_THAT(without.err, HasSubstr("setcap cap_net_admin=p"));

  // setcap cap_net_admin=p
  vfs_cap_data has{};
  has.magic_etc = VFS_CAP_REVISION_2;
  has.data[0].permitted = CAP_TO_MASK(CAP_NET_ADMIN);
  ASSERT_EQ(setxattr(program.c_str(), "security.capability", &has, sizeof(has), 0), 0)
      << strerror(errno);
  command.argv[0] = program;
  const auto with = RunCommand(pod(), command);
  EXPECT_EQ(with.exit_status, 0) << with.err;
  EXPECT_GT(Tables().second, 0);
  // It also starts where the capability is not allowed, as beside a CNI plugin.
  command.capabilities = std::vector<int>{};
  EXPECT_EQ(RunCommand(pod(), command).exit_status, 3);
  std::filesystem::remove_all(directory);
}

// From one to the other and back, in both modes: every connection made meanwhile is captured.
TEST_F(InitBackends, NoConnectionIsUncapturedDuringTheChange) {
  for (const bool transparent : {false, true}) {
    const CaptureCase& chosen = FindCase(transparent ? "tproxy-dual" : "seed-dual-stack");
    const Listeners listeners(pod(),
                              {{.port = 15001, .answer = "out15001"},
                               {.port = 15006, .answer = "in15006", .transparent = transparent},
                               {.port = 80}});
    const Listeners world(network_.outside(), {{.port = 80}});
    Run(chosen, {"--backend", "iptables"});
    for (int round = 0; round < 4; ++round) {
      const bool to_nftables = round % 2 == 0;
      Process change(pod(),
                     CaseCommand(chosen, {"--backend", to_nftables ? "nftables" : "iptables"}));
      bool running = true;
      // One more after the change.
      for (int i = 0; i < 1000 && running; ++i) {
        running = change.Running();
        for (const char* const ip : {"198.51.100.1", "2001:db8::1"}) {
          ASSERT_EQ(Connect(pod(), {IpAddress::Parse(ip), 80}, {.who = kApplication}), "out15001");
        }
        for (const char* const ip : {"192.0.2.2", "fd00:2::2"}) {
          const std::string landed = Connect(network_.outside(), {IpAddress::Parse(ip), 80});
          ASSERT_EQ(landed, "in15006") << ip << (transparent ? " TPROXY" : " REDIRECT");
        }
      }
      const auto result = change.Wait(std::chrono::seconds(60));
      ASSERT_EQ(result.exit_status, 0) << result.err;
      ASSERT_EQ(to_nftables ? Tables().first : Tables().second, 0);
      ASSERT_GT(to_nftables ? Tables().second : Tables().first, 0);
    }
    RunInit(pod(), {"--cleanup-only"});
  }
}

TEST_F(InitBackends, CleanUpRemovesTheRulesOfBoth) {
  const Snapshot fresh = TakeSnapshot(pod());
  const CaptureCase& chosen = FindCase("tproxy-dual");
  Run(chosen, {"--backend", "nftables"});
  const PodNetwork elsewhere;
  const auto listed = RunCommand(pod(), {.argv = {"nft", "list", "table", "ip", "sluice"}}).out +
                      RunCommand(pod(), {.argv = {"nft", "list", "table", "ip6", "sluice"}}).out;
  Run(chosen, {"--backend", "iptables"});
  Nft(pod(), listed);  // as if a change had been interrupted
  EXPECT_GT(Tables().first, 0);
  EXPECT_GT(Tables().second, 0);
  const auto diff = RunInit(pod(), {"diff", "--cleanup-only", "--backend", "iptables"});
  EXPECT_EQ(diff.exit_status, 10);
  EXPECT_THAT(diff.out, HasSubstr("kernel: nftables\n"));
  EXPECT_EQ(RunInit(pod(), {"--cleanup-only"}).exit_status, 0);
  EXPECT_EQ(TakeSnapshot(pod()), fresh);
}

TEST_F(InitBackends, WhatCapturesAsWellIsNamedAndLeftAlone) {
  Nft(pod(),
      "add table inet istio-proxy-nat\n"
      "add table ip nat\nadd chain ip nat ISTIO_OUTPUT\n");
  const Snapshot before = TakeSnapshot(pod());
  for (const char* const backend : {"iptables", "nftables"}) {
    const std::string said = Run(FindCase("seed-dual-stack"), {"--backend", backend});
    EXPECT_THAT(said, HasSubstr("warning: inet istio-proxy-nat (nf_tables), not Sluice's, captures "
                                "as well; it is left alone"));
    EXPECT_THAT(said, HasSubstr("warning: ip nat, chain ISTIO_OUTPUT (nf_tables), not Sluice's"));
    EXPECT_THAT(RunInit(pod(), {"show"}).out, HasSubstr("inet istio-proxy-nat\n"));
  }
  EXPECT_EQ(RunInit(pod(), {"--cleanup-only"}).exit_status, 0);
  EXPECT_EQ(TakeSnapshot(pod()), before);
}

// x_tables' TPROXY drops if nobody listens. That of nf_tables continues with the next rule, and the
// client would reach the application.
TEST_F(InitBackends, TproxyWithoutAListenerLetsNobodyThrough) {
  const Listeners application(pod(), {{.port = 80}});
  for (const char* const backend : {"iptables", "nftables"}) {
    Run(FindCase("tproxy-dual"), {"--backend", backend});
    for (const char* const ip : {"192.0.2.2", "fd00:2::2"}) {
      EXPECT_EQ(Connect(network_.outside(), {IpAddress::Parse(ip), 80},
                        {.timeout = std::chrono::milliseconds(300)}),
                "timeout")
          << backend << " " << ip;
    }
  }
}

// Of two chains with equal priority the later one runs first. Ours comes after, whoever was first,
// so that a foreign DNAT decides first, as with x_tables.
TEST_F(InitBackends, ADnatOfOthersDecidesFirstInBothOrders) {
  const Listeners agent(
      pod(), {{.port = 15001, .answer = "out15001"}, {.port = 8888, .answer = "docker"}});
  const std::string docker =
      "add table ip docker-dns\n"
      "add chain ip docker-dns out { type nat hook output priority -100; }\n"
      "add rule ip docker-dns out ip daddr 203.0.113.9 tcp dport 53 dnat to 127.0.0.1:8888\n";
  for (const bool first : {true, false}) {
    if (first) Nft(pod(), docker);
    Run(FindCase("seed-manifest"), {"--backend", "nftables"});
    if (!first) Nft(pod(), docker);
    EXPECT_EQ(Connect(pod(), {IpAddress::Parse("203.0.113.9"), 53}, {.who = kApplication}),
              "docker");
    EXPECT_EQ(Connect(pod(), {IpAddress::Parse("203.0.113.9"), 80}, {.who = kApplication}),
              "out15001");
    EXPECT_EQ(RunInit(pod(), {"--cleanup-only"}).exit_status, 0);
    Nft(pod(), "delete table ip docker-dns\n");
  }
}

// Another program changes the rule set all the time: neither loses anything.
TEST_F(InitBackends, OthersWriteAtTheSameTime) {
  const CaptureCase& chosen = FindCase("seed-dual-stack");
  Nft(pod(), "add table inet other\nadd chain inet other c\n");
  Process other(pod(),
                {.argv = {"sh", "-c",
                          "i=0; while [ $i -lt 100 ]; do i=$((i+1)); "
                          "nft add rule inet other c tcp dport $i counter || exit 1; done"}});
  int rounds = 0;
  do {
    Run(chosen, {"--backend", "nftables"});
    ASSERT_EQ(RunInit(pod(), {"--cleanup-only"}).exit_status, 0);
    ++rounds;
  } while (other.Running() && rounds < 1000);
  const auto result = other.Wait(std::chrono::seconds(60));
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(Run(chosen, {"--backend", "nftables"}), HasSubstr("]: done ("));
  const std::string listed =
      RunCommand(pod(), {.argv = {"nft", "-s", "list", "chain", "inet", "other", "c"}}).out;
  for (int port = 1; port <= 100; ++port) {
    ASSERT_THAT(listed, HasSubstr("tcp dport " + std::to_string(port) + " counter\n"));
  }
}

// 10,000 ranges of each family as an ordinary user: more than one message can hold there.
TEST_F(InitBackends, ListsThatDoNotFitIntoOneMessageGoInParts) {
  const auto file = std::filesystem::temp_directory_path() /
                    ("sluice-many-ranges-" + std::to_string(getpid()) + ".json");
  std::string ranges = "198.51.100.1/32,2001:db8::1/128";
  for (int i = 0; i < 10'000; ++i) {
    // No adjacent ranges, which would be merged.
    ranges += ",10." + std::to_string(i / 120) + "." + std::to_string(i % 120 * 2) + ".0/24";
    std::array<char, 32> v6{};
    std::snprintf(v6.data(), v6.size(), ",fd01:%x::/32", static_cast<unsigned>(i) * 2);
    ranges += v6.data();
  }
  std::ofstream(file) << R"({"istio-service-cidr": "*", "istio-service-exclude-cidr": ")" << ranges
                      << "\"}";
  const Listeners agent(pod(), {{.port = 15001, .answer = "out15001"}});
  const Listeners world(network_.outside(), {{.port = 80}});
  Command command =
      WithPreload(InitCommand({"--config", file, "--backend", "nftables", "--ipv6", "on"}),
                  "libsluice_small_send_buffer.so");
  command.who = kApplication;
  command.capabilities = {CAP_NET_ADMIN};
  // A killed run has left only a set.
  Nft(pod(), "add table ip sluice\nadd set ip sluice left { type ipv4_addr; }\n");
  const auto sets = [&] {
    const std::string listed = RunCommand(pod(), {.argv = {"nft", "list", "sets"}}).out;
    std::vector<std::string> out;
    std::istringstream lines(listed);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("\tset ")) out.push_back(line.substr(5, line.find(' ', 5) - 5));
    }
    return out;
  };
  std::vector<std::string> before = sets();
  ASSERT_THAT(before, testing::ElementsAre("left"));
  for (const bool again : {false, true}) {
    if (again) command.argv.emplace_back("--force-apply");
    const auto applied = RunCommand(pod(), command);
    ASSERT_EQ(applied.exit_status, 0) << applied.err;
    const std::vector<std::string> now = sets();
    ASSERT_EQ(now.size(), 2U) << "one for each family";
    EXPECT_THAT(now, testing::Each(Not(testing::AnyOfArray(before)))) << "the old ones are gone";
    before = now;
    for (const char* const ip : {"198.51.100.1", "2001:db8::1"}) {
      EXPECT_EQ(Connect(pod(), {IpAddress::Parse(ip), 80}, {.who = kApplication}), "direct");
    }
    EXPECT_EQ(Connect(pod(), {IpAddress::Parse("203.0.113.9"), 80}, {.who = kApplication}),
              "out15001");
  }
  command.argv.pop_back();
  EXPECT_THAT(RunCommand(pod(), command).err, HasSubstr("nothing written"));
  // A list that fits needs no named set.
  Run(FindCase("many-excluded-cidrs"), {"--backend", "nftables"});
  EXPECT_THAT(sets(), IsEmpty());
  std::filesystem::remove(file);
}

// Without comments, as older versions of Sluice wrote the rules.
std::string WithoutComments(const std::string& text) {
  return std::regex_replace(text, std::regex(R"( comment "[^"]*")"), "");
}

// nft shows which option a rule comes from, and reads it back from a dry run. A comment alone is
// not a difference.
TEST_F(InitBackends, RulesOfNftablesSayWhatTheyComeFrom) {
  const std::vector<std::string> nftables = {"--backend", "nftables"};
  const CaptureCase& chosen = FindCase("everything");
  Run(chosen, nftables);
  const auto chain = [&](const char* name) {
    return RunCommand(pod(), {.argv = {"nft", "list", "chain", "ip", "sluice", name}}).out;
  };
  const std::string output = chain("nat/ISTIO_OUTPUT_INCLUDED");
  EXPECT_THAT(output, HasSubstr(" return comment \"--proxy-gid=1337\"\n"));
  EXPECT_THAT(output, HasSubstr(" return comment \"--exclude-uids=2000\"\n"));
  EXPECT_THAT(output, HasSubstr(" comment \"--istio-outbound-ports=9000-9099\"\n"));
  EXPECT_THAT(chain("nat/ISTIO_REDIRECT"), HasSubstr(" comment \"--envoy-port=15001\"\n"));
  const Snapshot written = TakeSnapshot(pod());

  const auto dry = RunCase(pod(), chosen, {"--backend", "nftables", "--dry-run"});
  EXPECT_EQ(dry.exit_status, 0) << dry.err;
  Nft(pod(), dry.out);
  EXPECT_EQ(TakeSnapshot(pod()), written);
  Nft(pod(), WithoutComments(dry.out));
  EXPECT_THAT(chain("nat/ISTIO_REDIRECT"), Not(HasSubstr("comment")));
  EXPECT_THAT(Run(chosen, nftables), HasSubstr("nothing written"));
  EXPECT_THAT(chain("nat/ISTIO_REDIRECT"), Not(HasSubstr("comment")));
  // Rules rewritten for another reason get their comments, and the rest with --force-apply.
  Nft(pod(), "flush chain ip sluice nat/ISTIO_IN_REDIRECT\n");
  Run(chosen, nftables);
  EXPECT_THAT(chain("nat/ISTIO_IN_REDIRECT"), HasSubstr("comment"));
  EXPECT_THAT(chain("nat/ISTIO_REDIRECT"), Not(HasSubstr("comment")));
  Run(chosen, {"--backend", "nftables", "--force-apply"});
  EXPECT_EQ(TakeSnapshot(pod()), written);
}

// They belong to nobody (NFT_TABLE_F_OWNER): others may change them, and they outlive the program.
TEST_F(InitBackends, TablesOfNftablesCanBeFlushedByAnybodyAndComeBack) {
  const std::vector<std::string> nftables = {"--backend", "nftables"};
  Run(FindCase("tproxy-dual"), nftables);
  const Snapshot written = TakeSnapshot(pod());
  EXPECT_THAT(RunCommand(pod(), {.argv = {"nft", "list", "table", "ip", "sluice"}}).out,
              Not(HasSubstr("flags owner")));
  Nft(pod(), "flush ruleset\n");
  EXPECT_EQ(Tables().second, 0);
  Run(FindCase("tproxy-dual"), nftables);
  EXPECT_EQ(TakeSnapshot(pod()), written);
}

// Chains that are as wanted keep their counters; --force-apply writes all anew.
TEST_F(InitBackends, OnlyChainsThatDifferAreWritten) {
  const Listeners agent(pod(), {{.port = 15001, .answer = "out15001"}});
  const std::vector<std::string> nftables = {"--backend", "nftables"};
  const auto redirected = [&] {
    const auto shown = boost::json::parse(RunInit(pod(), {"show", "--output", "json"}).out);
    EXPECT_EQ(shown.at("backend").at("name"), "nftables");
    for (const auto& table : shown.at("tables").as_array()) {
      if (table.at("family") != "IPv4" || table.at("table") != "nat") continue;
      for (const auto& chain : table.at("chains").as_array()) {
        if (chain.at("name") == "ISTIO_REDIRECT") {
          return chain.at("rules").at(0).at("packets").to_number<int>();
        }
      }
    }
    return -1;
  };
  Run(FindCase("defaults"), nftables);
  Run(FindCase("current-manifest"), nftables);
  EXPECT_EQ(redirected(), 0);
  ASSERT_EQ(Connect(pod(), {IpAddress::Parse("198.51.100.1"), 80}, {.who = kApplication}),
            "out15001");
  EXPECT_EQ(redirected(), 1);
  Run(FindCase("port-ranges"), nftables);
  EXPECT_EQ(redirected(), 1);
  Run(FindCase("port-ranges"), {"--backend", "nftables", "--force-apply"});
  EXPECT_EQ(redirected(), 0);
}

}  // namespace
}  // namespace sluice::testing_support
