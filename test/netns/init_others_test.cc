// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Other tools in the same namespace: those that have rules of their own, before or behind ours, and
// those that write while we do.

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/capture_cases.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;

class InitOthers : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  PodNetwork network_;
};

// --- foreign rules ---

// One connection, where it lands, and what `explain` calls that.
struct Expected {
  std::string to;
  std::uint16_t port;
  bool inbound;
  std::string lands;
  std::string explained;
};

struct OtherTool {
  std::string name;
  std::function<void(const netns::Namespace&)> install;
  std::vector<Expected> expected;
  std::string decides = {};  // what explain says of the first one
};

void Both(const netns::Namespace& where, const std::vector<std::string>& commands) {
  for (const std::string& command : commands) Iptables(where, Family::kIpv4, command);
}

std::vector<OtherTool> OtherTools() {
  return {
      // As dockerd has it in a container's namespace, made with iptables.
      {"docker-dns with iptables",
       [](const netns::Namespace& where) {
         Both(where, {"-t nat -N DOCKER_OUTPUT", "-t nat -I OUTPUT -d 203.0.113.9 -j DOCKER_OUTPUT",
                      "-t nat -A DOCKER_OUTPUT -d 203.0.113.9 -p tcp --dport 53 -j DNAT "
                      "--to-destination 127.0.0.1:8888"});
       },
       {{"203.0.113.9", 53, false, "agent", "direct"},
        {"203.0.113.9", 80, false, "out15001", "outbound"},
        {"192.0.2.2", 80, true, "in15006", "inbound"}},
       "iptables nat DOCKER_OUTPUT rule 1"},
      // kube-proxy puts its jumps first, and again at each synchronisation.
      {"kube-proxy",
       [](const netns::Namespace& where) {
         Both(where, {"-t nat -N KUBE-SERVICES", "-t nat -N KUBE-SVC-A", "-t nat -N KUBE-SEP-A",
                      "-t nat -A KUBE-SEP-A -p tcp -j DNAT --to-destination 198.51.100.1:6443",
                      "-t nat -A KUBE-SVC-A -j KUBE-SEP-A",
                      "-t nat -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp --dport 443 -j KUBE-SVC-A",
                      "-t nat -I OUTPUT -j KUBE-SERVICES", "-t nat -I PREROUTING -j KUBE-SERVICES",
                      "-t nat -N KUBE-POSTROUTING", "-t nat -A POSTROUTING -j KUBE-POSTROUTING",
                      "-t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
                      "-t nat -A KUBE-POSTROUTING -j MASQUERADE"});
       },
       {{"10.96.0.10", 443, false, "server", "direct"},
        {"198.51.100.1", 80, false, "out15001", "outbound"},
        {"192.0.2.2", 80, true, "in15006", "inbound"}},
       "iptables nat KUBE-SEP-A rule 1"},
      // What it lets in: itself, what is known, and what was redirected.
      {"firewalld",
       [](const netns::Namespace& where) {
         Nft(where,
             "table inet firewalld {\n"
             " chain filter_INPUT {\n"
             "  type filter hook input priority 10; policy drop;\n"
             "  ct state established,related accept\n"
             "  ct status dnat accept\n"
             "  iifname \"lo\" accept\n"
             " }\n"
             " chain filter_OUTPUT {\n"
             "  type filter hook output priority 10; policy accept;\n"
             " }\n"
             "}\n");
       },
       {{"198.51.100.1", 80, false, "out15001", "outbound"},
        {"192.0.2.2", 80, true, "in15006", "inbound"}}},
      // One that looks at ports does not know the proxy's, where the packet has come to.
      {"a filter by ports",
       [](const netns::Namespace& where) {
         Nft(where,
             "table inet filter {\n"
             " chain input {\n"
             "  type filter hook input priority 0; policy drop;\n"
             "  ct state established accept\n"
             "  iifname \"lo\" accept\n"
             "  tcp dport 80 accept\n"
             " }\n"
             "}\n");
       },
       {{"192.0.2.2", 80, true, "timeout", "dropped"},
        {"198.51.100.1", 80, false, "out15001", "outbound"}},
       "nftables filter input"},
  };
}

std::string PlaceOf(const boost::json::value& answer) {
  const boost::json::value& by = answer.at("decided_by");
  if (by.is_null()) return {};
  std::string out;
  for (const char* const key : {"backend", "table", "chain"}) {
    out += std::string(out.empty() ? "" : " ") + std::string(by.at(key).as_string());
  }
  const int rule = by.at("rule").to_number<int>();
  return rule == 0 ? out : out + " rule " + std::to_string(rule);
}

// Whoever came first: what others redirect goes there, what they drop is dropped, everything else
// is captured, and `explain` says which it is.
TEST_F(InitOthers, WithRulesOfTheirOwnInBothOrders) {
  for (const OtherTool& tool : OtherTools()) {
    for (const bool first : {true, false}) {
      SCOPED_TRACE(tool.name + (first ? ", first" : ", behind"));
      const PodNetwork network;
      const Listeners inside(network.pod(), {{.port = 15001, .answer = "out15001"},
                                             {.port = 15006, .answer = "in15006"},
                                             {.port = 8888, .answer = "agent"}});
      const Listeners world(network.outside(),
                            {{.port = 80}, {.port = 6443, .answer = "server"}, {.port = 53}});
      if (first) tool.install(network.pod());
      const auto applied = RunCase(network.pod(), FindCase("seed-dual-stack"));
      EXPECT_EQ(applied.exit_status, 0) << applied.err;
      if (!first) tool.install(network.pod());
      for (std::size_t i = 0; i < tool.expected.size(); ++i) {
        const Expected& one = tool.expected[i];
        const std::string to = one.to + ":" + std::to_string(one.port);
        ConnectOptions options{.who = one.inbound ? kRoot : kApplication};
        if (one.lands == "timeout") options.timeout = std::chrono::milliseconds(300);
        EXPECT_EQ(Connect(one.inbound ? network.outside() : network.pod(),
                          {IpAddress::Parse(one.to), one.port}, options),
                  one.lands)
            << to;
        std::vector<std::string> question = {"explain", "--output", "json", "--to", to};
        if (one.inbound) {
          question.insert(question.end(), {"--from", "192.0.2.1", "--in-interface", "eth0"});
        } else {
          question.insert(question.end(), {"--from-uid", std::to_string(kApplication.uid)});
        }
        const auto said = RunInit(network.pod(), question);
        ASSERT_EQ(said.exit_status, 0) << said.err;
        const auto answer = boost::json::parse(said.out);
        EXPECT_EQ(answer.at("landing"), one.explained.c_str()) << to << said.out;
        if (i == 0 && !tool.decides.empty()) {
          EXPECT_EQ(PlaceOf(answer), tool.decides) << said.out;
        }
      }
      // What is theirs is as it was.
      const auto clean = RunInit(network.pod(), {"--cleanup-only"});
      EXPECT_EQ(clean.exit_status, 0) << clean.err;
      const PodNetwork without;
      tool.install(without.pod());
      EXPECT_EQ(TakeSnapshot(network.pod()), TakeSnapshot(without.pod()));
    }
  }
}

// --- others that write at the same time ---

// How often each of the others writes; more on demand.
int Rounds() {
  const char* const text = std::getenv("SLUICE_OTHERS_ROUNDS");
  return text != nullptr ? std::atoi(text) : 30;
}

// For what hangs; a round of all three takes a second where much else runs.
std::chrono::milliseconds Patience() {
  return std::chrono::minutes(2) + Rounds() * std::chrono::milliseconds(1500);
}

// nft, iptables-nft and iptables-legacy add rules, and we come and go. Everybody's are all there in
// the end, in their order, and ours are whole whenever they are there.
TEST_F(InitOthers, WriteAtTheSameTime) {
  const CaptureCase& chosen = FindCase("seed-dual-stack");
  const std::string rounds = std::to_string(Rounds());
  // Of this test alone: with the machine's one, others would be waited for.
  const auto lock = std::filesystem::temp_directory_path() /
                    ("sluice-others-" + std::to_string(getpid()) + ".lock");
  const std::vector<std::string> environment = {"XTABLES_LOCKFILE=" + lock.string()};
  Nft(pod(), "add table inet other\nadd chain inet other c\n");
  for (const char* const program : {"iptables-nft", "iptables-legacy"}) {
    for (const char* const table : {"filter", "nat"}) {
      const auto made = RunCommand(pod(), {.argv = {program, "-t", table, "-N", "OTHER"}});
      ASSERT_EQ(made.exit_status, 0) << made.err;
    }
  }
  const auto writer = [&](const std::string& write) {
    return Process(pod(),
                   {.argv = {"sh", "-c",
                             "i=0; while [ $i -lt " + rounds + " ]; do i=$((i+1)); " + write +
                                 " || { echo \"round $i failed\" >&2; exit 1; }; done"},
                    .environment = environment,
                    .timeout = Patience()});
  };
  std::vector<Process> others;
  others.push_back(writer("nft add rule inet other c tcp dport $i counter"));
  others.push_back(writer("iptables-nft -w -A OTHER -p tcp --dport $i -j RETURN"));
  others.push_back(writer("iptables-legacy -w -t nat -A OTHER -p tcp --dport $i -j RETURN"));

  int applied = 0;
  const auto run = [&](Command command) {
    command.environment.insert(command.environment.end(), environment.begin(), environment.end());
    const auto result = RunCommand(pod(), command);
    // With others that write all the time, who would start over for ever says so instead.
    const bool gave_up =
        result.exit_status == 1 && result.err.find("another program ") != std::string::npos;
    EXPECT_TRUE(result.exit_status == 0 || gave_up) << result.err << result.out;
    return result.exit_status == 0;
  };
  std::vector<std::string> diff = chosen.args;
  diff.insert(diff.begin(), "diff");
  const auto running = [&] {
    bool any = false;
    for (Process& other : others) any = other.Running() || any;
    return any;
  };
  while (running() && !HasFailure()) {
    if (!run(CaseCommand(chosen))) continue;
    ++applied;
    run(InitCommand(diff));  // it ends with 10 where anything is missing
    run(InitCommand({"--cleanup-only"}));
  }
  for (Process& other : others) {
    const auto result = other.Wait(Patience());
    EXPECT_EQ(result.exit_status, 0) << result.err;
  }
  RecordProperty("applied", applied);
  EXPECT_EQ(RunCase(pod(), chosen).exit_status, 0);
  EXPECT_EQ(RunInit(pod(), diff).exit_status, 0);
  std::filesystem::remove(lock);

  const auto ports = [&](const std::vector<std::string>& list) {
    const std::string listed = RunCommand(pod(), {.argv = list}).out;
    std::vector<int> out;
    for (std::size_t at = 0; (at = listed.find("dport ", at)) != std::string::npos;) {
      at += 6;
      out.push_back(std::atoi(listed.c_str() + at));
    }
    return out;
  };
  std::vector<int> all;
  for (int i = 1; i <= Rounds(); ++i) all.push_back(i);
  EXPECT_EQ(ports({"nft", "-s", "-n", "list", "chain", "inet", "other", "c"}), all);
  EXPECT_EQ(ports({"iptables-nft", "-S", "OTHER"}), all);
  EXPECT_EQ(ports({"iptables-legacy", "-t", "nat", "-S", "OTHER"}), all);
}

}  // namespace
}  // namespace sluice::testing_support
