// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// --run-validation and `sluice-init verify`: they pass when the rules are correct, and find every
// kind of error, in a real namespace.

#include <linux/capability.h>
#include <stdlib.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "netns/route_socket.h"
#include "test/support/capture_cases.h"
#include "test/support/command.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

using Words = std::vector<std::string>;

constexpr int kInvalid = 126;

// What validation could leave behind.
struct Traces {
  std::vector<netns::Link> links;
  std::vector<netns::Route> routes;
  std::vector<netns::AddressEntry> addresses;
  std::string neighbours;
  friend bool operator==(const Traces&, const Traces&) = default;
};

std::ostream& operator<<(std::ostream& out, const Traces& traces) {
  for (const auto& link : traces.links) out << link << '\n';
  for (const auto& route : traces.routes) out << route << '\n';
  for (const auto& address : traces.addresses) out << address << '\n';
  return out << traces.neighbours;
}

class VerifyTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    network_.emplace();
  }

  const netns::Namespace& pod() const { return network_->pod(); }

  Command InitCommand(Words words) const { return testing_support::InitCommand(std::move(words)); }
  CommandResult Init(Words words) const { return RunCommand(pod(), InitCommand(std::move(words))); }

  void Must(const Words& words) const {
    const auto result = RunCommand(pod(), {.argv = words});
    ASSERT_EQ(result.exit_status, 0) << testing::PrintToString(words) << result.err;
  }

  Traces Look() const {
    netns::RouteSocket socket(pod());
    Traces out{.links = socket.Links(),
               .routes = socket.Routes(Family::kIpv4),
               .addresses = socket.Addresses(),
               .neighbours = {}};
    for (const auto& route : socket.Routes(Family::kIpv6)) out.routes.push_back(route);
    out.neighbours = RunCommand(pod(), {.argv = {"ip", "neigh", "show", "nud", "permanent"}}).out;
    // Duplicate address detection of the pod's own interfaces may still run.
    for (auto& entry : out.addresses) entry.tentative = false;
    // ::6 on lo belongs to the rules, not to the validation.
    std::erase_if(out.addresses, [](const auto& entry) { return entry.link == "lo"; });
    std::erase_if(out.routes,
                  [](const auto& route) { return route.destination == Cidr::Parse("::6/128"); });
    return out;
  }

  std::string Saved() const {
    return RulesOf(pod(), Family::kIpv4) + RulesOf(pod(), Family::kIpv6);
  }

  bool LinkIsThere() const { return netns::RouteSocket(pod()).FindLink("slprobe0").has_value(); }

  std::optional<PodNetwork> network_;
};

// "IPv4 inbound" -> {status, detail}, from a run with --log-format json.
using Checks = std::map<std::string, std::pair<std::string, std::string>>;
Checks ChecksOf(const CommandResult& result) {
  Checks out;
  const auto report = boost::json::parse(result.err).as_object();
  for (const auto& check : report.at("checks").as_array()) {
    const auto text = [&](const char* key) {
      return std::string(check.as_object().at(key).as_string());
    };
    out[text("family") + " " + text("path")] = {text("status"), text("detail")};
  }
  return out;
}

std::vector<std::string> PathsWith(const Checks& checks, std::string_view status) {
  std::vector<std::string> out;
  for (const auto& [path, check] : checks) {
    if (check.first == status) out.push_back(path + ": " + check.second);
  }
  return out;
}

Words Usual(std::initializer_list<std::string> more = {}) {
  Words words = {"-u", "1337", "-i", "*", "-b", "*", "--log-format", "json"};
  words.insert(words.end(), more);
  return words;
}

Words Verify(Words words, std::initializer_list<std::string> more = {}) {
  words.insert(words.begin(), "verify");
  words.insert(words.end(), more);
  return words;
}

Words Diff(Words words) {
  words.insert(words.begin(), "diff");
  return words;
}

// --- it passes ---

class VerifyCaseTest : public VerifyTest, public testing::WithParamInterface<CaptureCase> {};

TEST_P(VerifyCaseTest, EveryPathIsAsConfigured) {
  const CaptureCase& chosen = GetParam();
  network_.emplace(chosen.pod_has_ipv6 ? PodNetwork::Ipv6::kYes : PodNetwork::Ipv6::kNo);
  const std::string resolvers = testing::TempDir() + "resolv." + TestName(chosen.name) + ".conf";
  std::ofstream file(resolvers);
  for (const std::string& resolver : chosen.resolvers) file << "nameserver " << resolver << '\n';
  file.close();
  Words words = chosen.args;
  words.insert(words.end(), {"--run-validation", "--log-format", "json"});
  Command command = InitCommand(words);
  command.environment = chosen.environment;
  const Traces before = Look();
  const auto result = RunCommand(pod(), WithResolvConf(command, resolvers));
  std::remove(resolvers.c_str());
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_THAT(PathsWith(checks, "ok"), Not(IsEmpty()));
  // Root can do everything, so the only reason is an interface that we must not use.
  for (const std::string& path : PathsWith(checks, "not checked")) {
    EXPECT_THAT(path, testing::AnyOf(HasSubstr("interface"), HasSubstr("of the range"))) << path;
  }
  EXPECT_EQ(Look(), before);
}

INSTANTIATE_TEST_SUITE_P(All, VerifyCaseTest, testing::ValuesIn(CaptureCases()),
                         [](const auto& info) { return TestName(info.param.name); });

TEST_F(VerifyTest, WalksBothFamiliesAndAllKindsOfPaths) {
  const auto result = Init(Usual({"--redirect-dns", "--capture-all-dns", "-d", "8080", "-o", "22",
                                  "-x", "10.0.0.0/8,fd00:9::/32", "--run-validation"}));
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    for (const std::string path :
         {"inbound", "outbound", "self-call of the proxy's uid 1337", "DNS over UDP",
          "DNS over TCP", "exempt: the proxy's uid 1337", "exempt: inbound port 8080",
          "exempt: outbound port 22", "exempt: tunnel port 15008", "exempt: loopback",
          "exempt: DNS of the proxy's uid 1337", "exempt: the proxy's call of the application"}) {
      const auto found = checks.find(family + path);
      ASSERT_NE(found, checks.end()) << family << path;
      EXPECT_EQ(found->second.first, "ok") << found->second.second;
    }
  }
  EXPECT_THAT(checks.at("IPv4 inbound").second, HasSubstr("original destination 198.18.0.1:15002"));
}

TEST_F(VerifyTest, PortsOnWhichNobodyListensAreTriedToo) {
  // An application on the probe's port is as good as the listener of the probe.
  const Listeners application(pod(), {{.port = 15002}});
  for (const char* const port : {"7777", "15002"}) {
    const auto result =
        Init(Usual({"--capture-listening", "--iptables-probe-port", port, "--run-validation"}));
    ASSERT_EQ(result.exit_status, 0) << result.err;
    const Checks checks = ChecksOf(result);
    for (const std::string family : {"IPv4 ", "IPv6 "}) {
      EXPECT_EQ(checks.at(family + "inbound").first, "ok");
      const auto& closed = checks.at(family + "inbound where nobody listens");
      EXPECT_EQ(closed.first, std::string_view(port) == "7777" ? "ok" : "not checked")
          << closed.second;
    }
  }
}

TEST_F(VerifyTest, ProbePortIsTheOneThatWasAskedFor) {
  const auto result = Init(Usual({"--iptables-probe-port", "7777", "--run-validation"}));
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(ChecksOf(result).at("IPv6 inbound").second,
              HasSubstr("original destination [2001:2::1]:7777"));
}

// --- it finds what is wrong ---

// A change of the rules behind our back, the path that it breaks, and the expected report. The
// command is run with the iptables of both families.
struct Tampering {
  std::string name;
  std::vector<std::string> config;
  std::vector<std::string> commands;  // after "iptables-legacy -t "
  std::string path;
  std::string says;
};

class TamperingTest : public VerifyTest, public testing::WithParamInterface<Tampering> {};

TEST_P(TamperingTest, IsFoundAndTheRuleIsNamed) {
  const Tampering& chosen = GetParam();
  Words words = Usual();
  words.insert(words.end(), chosen.config.begin(), chosen.config.end());
  ASSERT_EQ(Init(words).exit_status, 0);
  ASSERT_EQ(Init(Verify(words)).exit_status, 0) << "before";
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    for (const std::string& command : chosen.commands) {
      Must({"sh", "-c", std::string(program) + " -t " + command});
    }
  }
  const std::string rules = Saved();
  const Traces before = Look();
  const auto result = Init(Verify(words, {"--probe-timeout", "300ms"}));
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    const auto found = checks.find(family + chosen.path);
    ASSERT_NE(found, checks.end()) << result.err;
    EXPECT_EQ(found->second.first, "failed") << found->second.second;
    EXPECT_THAT(found->second.second, HasSubstr(chosen.says));
  }
  EXPECT_EQ(Saved(), rules) << "verify changes no rules";
  EXPECT_EQ(Look(), before);
}

const std::vector<Tampering>& Tamperings() {
  static const std::vector<Tampering> all = {
      {"closed ports captured",
       {"--capture-listening"},
       {"nat -R ISTIO_IN_LISTENING 2 -p tcp -j REDIRECT --to-ports 15006"},
       "inbound where nobody listens",
       "should have been refused, since nobody listens there; the rule that should have matched"},
      {"open ports refused",
       {"--capture-listening"},
       {"nat -D ISTIO_IN_LISTENING 1"},
       "inbound",
       "the rule that should have matched"},
      {"inbound rule deleted",
       {},
       {"nat -D ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT"},
       "inbound",
       "-p tcp -j ISTIO_IN_REDIRECT, is missing"},
      {"jump to inbound deleted",
       {},
       {"nat -F PREROUTING"},
       "inbound",
       "nat PREROUTING rule 1: -p tcp -j ISTIO_INBOUND, is missing"},
      {"outbound jump deleted",
       {},
       {"nat -F OUTPUT"},
       "outbound",
       "nat OUTPUT rule 1: -j ISTIO_OUTPUT, is missing"},
      {"outbound port changed",
       {},
       {"nat -R ISTIO_REDIRECT 1 -p tcp -j REDIRECT --to-ports 15099"},
       "outbound",
       "nat ISTIO_REDIRECT rule 1: -p tcp -j REDIRECT --to-ports 15001, is missing: rule 1 is "
       "\"-p tcp -j REDIRECT --to-ports 15099\""},
      {"outbound to the inbound port",
       {},
       {"nat -R ISTIO_REDIRECT 1 -p tcp -j REDIRECT --to-ports 15006"},
       "outbound",
       "arrived at the inbound listener"},
      {"inbound to the outbound port",
       {},
       {"nat -R ISTIO_IN_REDIRECT 1 -p tcp -j REDIRECT --to-ports 15001"},
       "inbound",
       "arrived at the outbound listener"},
      {"redirect chain emptied",
       {},
       {"nat -F ISTIO_IN_REDIRECT"},
       "inbound",
       "nat ISTIO_IN_REDIRECT rule 1: -p tcp -j REDIRECT --to-ports 15006, is missing"},
      {"proxy's rule deleted",
       {},
       {"nat -D ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN"},
       "exempt: the proxy's uid 1337",
       "-m owner --uid-owner 1337 -j RETURN, is missing"},
      {"proxy's rule behind the capture",
       {},
       {"nat -D ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "nat -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN"},
       "exempt: the proxy's uid 1337",
       "-m owner --uid-owner 1337 -j RETURN, is not in its place"},
      {"self-call behind the escape",
       {},
       {"nat -I ISTIO_OUTPUT 1 -m owner --uid-owner 1337 -j RETURN"},
       "self-call of the proxy's uid 1337",
       "is not in its place: rule 1 is"},
      {"excluded outbound port captured",
       {"-o", "22"},
       {"nat -D ISTIO_OUTPUT -p tcp --dport 22 -j RETURN"},
       "exempt: outbound port 22",
       "nat ISTIO_OUTPUT rule 1: -p tcp -m tcp --dport 22 -j RETURN, is missing"},
      {"excluded inbound port captured",
       {"-d", "8080"},
       {"nat -D ISTIO_INBOUND -p tcp --dport 8080 -j RETURN"},
       "exempt: inbound port 8080",
       "-p tcp -m tcp --dport 8080 -j RETURN, is missing"},
      {"tunnel port captured",
       {},
       {"nat -D ISTIO_INBOUND -p tcp --dport 15008 -j RETURN"},
       "exempt: tunnel port 15008",
       "--dport 15008 -j RETURN, is missing"},
      {"everything on lo captured",
       {},
       {"nat -D ISTIO_OUTPUT -o lo -j RETURN",
        "nat -I ISTIO_OUTPUT -o lo -p tcp -j ISTIO_REDIRECT"},
       "exempt: loopback",
       "-o lo -j RETURN, is missing"},
      {"a pod's call of itself captured",
       {},
       {"nat -D ISTIO_OUTPUT -o lo -j RETURN"},
       "exempt: the application's call of its own pod",
       "-o lo -j RETURN, is missing"},
      {"application's call captured",
       {},
       {"nat -I ISTIO_OUTPUT -o lo -p tcp -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT"},
       "exempt: the proxy's call of the application",
       "is not in its place: rule 1 is"},
      {"DNS over UDP lost",
       {"--redirect-dns", "--capture-all-dns"},
       {"nat -D ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-ports 15053"},
       "DNS over UDP",
       "-p udp -m udp --dport 53 -j REDIRECT --to-ports 15053, is missing"},
      {"DNS over TCP lost",
       {"--redirect-dns", "--capture-all-dns"},
       {"nat -D ISTIO_OUTPUT_DNS -p tcp --dport 53 -j REDIRECT --to-ports 15053"},
       "DNS over TCP",
       "-p tcp -m tcp --dport 53 -j REDIRECT --to-ports 15053, is missing"},
      {"zone of the query changed",
       {"--redirect-dns", "--capture-all-dns"},
       {"raw -D ISTIO_OUTPUT_DNS -p udp --dport 53 -j CT --zone 2"},
       "DNS over UDP",
       "its answer did not come back"},
      {"tproxy rule emptied",
       {"-m", "TPROXY"},
       {"mangle -F ISTIO_TPROXY"},
       "inbound",
       "mangle ISTIO_TPROXY rule 1: "},
      {"REDIRECT instead of TPROXY",
       {"-m", "TPROXY"},
       {"mangle -F ISTIO_TPROXY", "nat -A PREROUTING -p tcp -j REDIRECT --to-ports 15006"},
       "inbound",
       "where it was going cannot be told"},
      {"foreign rule before ours",
       {},
       {"nat -I PREROUTING -p tcp -j ACCEPT"},
       "inbound",
       "is in place: look for one that is not Sluice's, such as rule 1 of nat PREROUTING"},
      {"dropped by others",
       {},
       {"raw -I PREROUTING -i slprobe0 -j DROP"},
       "inbound",
       "got no answer, and was seen nowhere"},
  };
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, TamperingTest, testing::ValuesIn(Tamperings()),
                         [](const auto& info) { return TestName(info.param.name); });

TEST_F(VerifyTest, PolicyRoutingThatIsGoneIsNamed) {
  const Words words = Usual({"-m", "TPROXY"});
  ASSERT_EQ(Init(words).exit_status, 0);
  Must({"ip", "rule", "del", "priority", "13370"});
  Must({"ip", "-6", "rule", "del", "priority", "13370"});
  const auto result = Init(Verify(words, {"--probe-timeout", "300ms"}));
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_EQ(checks.at("IPv4 policy routing").first, "failed");
  EXPECT_EQ(checks.at("IPv6 policy routing").first, "failed");
}

TEST_F(VerifyTest, FindsThatNothingIsInstalledAndInstallsNothing) {
  const auto result = Init(Verify(Usual()));
  EXPECT_EQ(result.exit_status, kInvalid);
  EXPECT_THAT(ChecksOf(result).at("IPv4 outbound").second,
              AllOf(HasSubstr("left the pod unchanged"),
                    HasSubstr("nat OUTPUT rule 1: -j ISTIO_OUTPUT, is missing")));
  EXPECT_EQ(Saved(), "") << "not even an empty table";
}

TEST_F(VerifyTest, ARuleAboutAnInterfaceOfThePodIsMet) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const auto before = Init(Verify(Usual()));
  ASSERT_EQ(before.exit_status, 0) << before.err;
  EXPECT_EQ(ChecksOf(before).at("IPv4 outbound over eth0").first, "ok");
  EXPECT_EQ(ChecksOf(before).at("IPv6 outbound over eth0").first, "ok");
  EXPECT_EQ(ChecksOf(before).at("IPv4 inbound over eth0").first, "not checked");
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-t", "nat", "-I", "OUTPUT", "-o", "eth0", "-j", "ACCEPT"});
  }
  const auto after = Init(Verify(Usual(), {"--probe-timeout", "300ms"}));
  EXPECT_EQ(after.exit_status, kInvalid) << after.err;
  const Checks checks = ChecksOf(after);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    EXPECT_EQ(checks.at(family + "outbound").first, "ok");
    EXPECT_EQ(checks.at(family + "outbound over eth0").first, "failed");
    EXPECT_EQ(checks.at(family + "foreign rules: nat OUTPUT rule 1").first, "failed");
  }
}

TEST_F(VerifyTest, AFilterThatKnowsThePodsInterfacesIsNoFailure) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-A", "INPUT", "-i", "eth0", "-j", "ACCEPT"});
    Must({program, "-A", "INPUT", "-i", "lo", "-j", "ACCEPT"});
    Must({program, "-P", "INPUT", "DROP"});
  }
  const auto result = Init(Verify(Usual(), {"--probe-timeout", "300ms"}));
  EXPECT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string path : {"IPv4 inbound", "IPv6 exempt: tunnel port 15008"}) {
    EXPECT_EQ(checks.at(path).first, "not checked");
    EXPECT_THAT(checks.at(path).second, HasSubstr("iptables -S INPUT"));
  }
}

TEST_F(VerifyTest, AFilterOfWhatLeavesIsNoFailureUnlessNothingLeaves) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-A", "OUTPUT", "-o", "eth0", "-j", "ACCEPT"});
    Must({program, "-A", "OUTPUT", "-o", "lo", "-j", "ACCEPT"});
    Must({program, "-P", "OUTPUT", "DROP"});
  }
  const auto result = Init(Verify(Usual(), {"--probe-timeout", "300ms"}));
  EXPECT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string path : {"IPv4 outbound", "IPv6 exempt: the proxy's uid 1337"}) {
    EXPECT_EQ(checks.at(path).first, "not checked");
    EXPECT_THAT(checks.at(path).second, HasSubstr("iptables -S OUTPUT"));
  }
  EXPECT_EQ(checks.at("IPv4 outbound over eth0").first, "ok");

  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-D", "OUTPUT", "-o", "eth0", "-j", "ACCEPT"});
  }
  const auto closed = Init(Verify(Usual(), {"--probe-timeout", "300ms"}));
  EXPECT_EQ(closed.exit_status, kInvalid);
  EXPECT_EQ(ChecksOf(closed).at("IPv4 outbound over eth0").first, "failed");
}

// Probes may wait long; the lock may be the node's.
TEST_F(VerifyTest, LeavesTheLockOfIptablesToOthers) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  std::string lock = (std::filesystem::temp_directory_path() / "sluice-lock-XXXXXX").string();
  const UniqueFd made(::mkstemp(lock.data()));
  ASSERT_TRUE(made);
  Must({"iptables-legacy", "-t", "raw", "-I", "PREROUTING", "-i", "slprobe0", "-j", "DROP"});
  Command command = InitCommand(Verify(Usual(), {"--probe-timeout", "100s"}));
  command.environment = {"XTABLES_LOCKFILE=" + lock};
  Process process(pod(), command);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!LinkIsThere() && std::chrono::steady_clock::now() < deadline) {
  }
  ASSERT_TRUE(LinkIsThere());
  const CommandResult other =
      RunCommand(pod(), {.argv = {"iptables-legacy", "-A", "INPUT", "-s", "203.0.113.1"},
                         .environment = {"XTABLES_LOCKFILE=" + lock}});
  EXPECT_EQ(other.exit_status, 0) << "without -w it does not wait: " << other.err;
  process.Signal(SIGKILL);
  process.Wait(std::chrono::seconds(60));
  std::filesystem::remove(lock);
}

TEST_F(VerifyTest, SkipRuleApplyValidatesWhatIsThere) {
  const auto result = Init(Usual({"--skip-rule-apply", "--run-validation"}));
  EXPECT_EQ(result.exit_status, kInvalid);
  EXPECT_EQ(Saved(), "");
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const std::string rules = Saved();
  EXPECT_EQ(Init(Usual({"--skip-rule-apply", "--run-validation"})).exit_status, 0);
  EXPECT_EQ(Saved(), rules);
}

TEST_F(VerifyTest, ReportForPeopleNamesThePathAndTheRule) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  Must({"iptables-legacy", "-t", "nat", "-F", "ISTIO_REDIRECT"});
  const auto result = Init(Verify({"-u", "1337", "-i", "*", "-b", "*"}));
  EXPECT_EQ(result.exit_status, kInvalid);
  EXPECT_THAT(result.err, HasSubstr("error: IPv4 outbound: failed: "));
  EXPECT_THAT(result.err, HasSubstr("info: IPv6 outbound: ok: "));
  EXPECT_THAT(result.err, HasSubstr("2 of "));
  EXPECT_THAT(result.err, HasSubstr("(exit code 126)"));
}

TEST_F(VerifyTest, TimeoutBoundsEachCheck) {
  ASSERT_EQ(Init(Usual({"--ipv6", "off"})).exit_status, 0);
  Must({"iptables-legacy", "-t", "raw", "-I", "OUTPUT", "-s", "198.18.0.0/15", "-j", "DROP"});
  const auto result = Init(Verify(Usual({"--ipv6", "off"}), {"--probe-timeout", "100ms"}));
  EXPECT_EQ(result.exit_status, kInvalid);
  const auto failed = PathsWith(ChecksOf(result), "failed").size();
  EXPECT_GE(failed, 5U) << result.err;
  // The default of 5 s would take many times as long, even on a busy machine.
  EXPECT_LT(result.wall, failed * milliseconds(2500));
}

// --- what happens to the rules ---

TEST_F(VerifyTest, RollBackPutsBackWhatWasThere) {
  ASSERT_EQ(Init(Usual({"-m", "TPROXY", "-o", "9"})).exit_status, 0);
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-t", "nat", "-I", "OUTPUT", "-p", "tcp", "-j", "ACCEPT"});
  }
  const std::string rules = Saved();
  const std::string routing = RunCommand(pod(), {.argv = {"ip", "rule"}}).out;
  const auto result =
      Init(Usual({"-o", "10", "--run-validation", "--rollback-on-failed-validation"}));
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  EXPECT_EQ(Saved(), rules);
  EXPECT_EQ(RunCommand(pod(), {.argv = {"ip", "rule"}}).out, routing);
  EXPECT_EQ(ChecksOf(result).at("IPv4 outbound").first, "failed");
  EXPECT_FALSE(LinkIsThere());
}

TEST_F(VerifyTest, WithoutRollBackTheNewRulesStay) {
  ASSERT_EQ(Init(Usual({"-o", "9"})).exit_status, 0);
  Must({"iptables-legacy", "-t", "nat", "-I", "OUTPUT", "-p", "tcp", "-j", "ACCEPT"});
  const auto result = Init(Usual({"-o", "10", "--run-validation"}));
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  EXPECT_THAT(Saved(), AllOf(HasSubstr("--dport 10 "), Not(HasSubstr("--dport 9 "))));
}

TEST_F(VerifyTest, RollBackIsNotNeededWhenEverythingIsRight) {
  const auto result = Init(Usual({"--run-validation", "--rollback-on-failed-validation"}));
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(Saved(), HasSubstr("ISTIO_OUTPUT"));
}

// --- where it runs ---

TEST_F(VerifyTest, NeedsNoMoreThanAnInitContainerHas) {
  Command command =
      InitCommand(Usual({"--redirect-dns", "--capture-all-dns", "-d", "8080", "--run-validation"}));
  command.capabilities = {CAP_NET_ADMIN, CAP_NET_RAW};
  const auto result = RunCommand(pod(), command);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    for (const std::string path : {"inbound", "outbound", "DNS over UDP", "DNS over TCP",
                                   "exempt: inbound port 8080", "exempt: loopback"}) {
      EXPECT_EQ(checks.at(family + path).first, "ok") << checks.at(family + path).second;
    }
    const auto& proxy = checks.at(family + "exempt: the proxy's uid 1337");
    EXPECT_EQ(proxy.first, "not checked");
    EXPECT_THAT(proxy.second, HasSubstr("needs CAP_SETUID"));
  }
}

TEST_F(VerifyTest, TheProxyItselfCanTryItsOwnPaths) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  Command command = InitCommand(Verify(Usual()));
  command.who = kProxy;
  command.capabilities = {CAP_NET_ADMIN, CAP_NET_RAW};
  const auto result = RunCommand(pod(), command);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_EQ(checks.at("IPv4 outbound").first, "not checked") << "nobody else can be played";
}

TEST_F(VerifyTest, WithoutACapabilityItDoesTheRestAndSaysWhich) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  Command command = InitCommand(Verify(Usual()));
  command.capabilities = {CAP_NET_ADMIN};
  const Traces before = Look();
  const auto result = RunCommand(pod(), command);
  EXPECT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_EQ(checks.at("IPv4 outbound").first, "ok") << checks.at("IPv4 outbound").second;
  EXPECT_EQ(checks.at("IPv4 inbound").first, "not checked");
  EXPECT_THAT(checks.at("IPv4 inbound").second, HasSubstr("CAP_NET_RAW"));
  EXPECT_EQ(Look(), before);
}

// As Istio's CNI mode starts the validation container.
class UnprivilegedTest : public VerifyTest {
 protected:
  CommandResult Validate(Credentials who, std::initializer_list<std::string> more = {}) const {
    Words words = Usual({"--run-validation", "--skip-rule-apply"});
    words.insert(words.end(), more);
    Command command = InitCommand(words);
    command.who = who;
    command.capabilities.emplace();
    return RunCommand(pod(), command);
  }
};

TEST_F(UnprivilegedTest, TheProxysUidTriesWhatItCanFromInside) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const Traces before = Look();
  const auto result = Validate(kProxy);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    for (const std::string path :
         {"self-call of the proxy's uid 1337", "exempt: the proxy's uid 1337",
          "exempt: the proxy's call of the application"}) {
      EXPECT_EQ(checks.at(family + path).first, "ok") << checks.at(family + path).second;
    }
    for (const std::string path : {"inbound", "outbound", "exempt: tunnel port 15008"}) {
      EXPECT_EQ(checks.at(family + path).first, "not checked");
      EXPECT_THAT(checks.at(family + path).second, HasSubstr("needs CAP_"));
    }
  }
  EXPECT_EQ(Look(), before);
}

TEST_F(UnprivilegedTest, AnApplicationTriesItsOwnPaths) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const auto result = Validate(kApplication);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    for (const std::string path :
         {"outbound", "exempt: loopback", "exempt: the application's call of its own pod"}) {
      EXPECT_EQ(checks.at(family + path).first, "ok") << checks.at(family + path).second;
    }
    EXPECT_EQ(checks.at(family + "exempt: the proxy's uid 1337").first, "not checked");
  }
}

TEST_F(UnprivilegedTest, FindsThatNothingIsInstalled) {
  const auto result = Validate(kProxy, {"--probe-timeout", "300ms"});
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_THAT(checks.at("IPv4 self-call of the proxy's uid 1337").second,
              AllOf(HasSubstr("the rule that should have matched is nat ISTIO_IN_REDIRECT rule 1"),
                    HasSubstr("cannot be read without CAP_NET_ADMIN and CAP_NET_RAW")));
  EXPECT_EQ(Validate(kApplication, {"--probe-timeout", "300ms"}).exit_status, kInvalid);
}

TEST_F(UnprivilegedTest, FindsThatTheProxyIsCaptured) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-t", "nat", "-D", "ISTIO_OUTPUT", "-m", "owner", "--uid-owner", "1337", "-j",
          "RETURN"});
    Must({program, "-t", "nat", "-D", "ISTIO_OUTPUT", "-m", "owner", "--gid-owner", "1337", "-j",
          "RETURN"});
  }
  const auto result = Validate(kProxy);
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_THAT(checks.at("IPv4 exempt: the proxy's uid 1337").second,
              HasSubstr("arrived at the outbound listener"));
  EXPECT_EQ(checks.at("IPv6 exempt: the proxy's uid 1337").first, "failed");
}

TEST_F(VerifyTest, PortOfTheProxyInUseIsSaid) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const Listeners proxy(pod(), {{.port = 15006}});
  const auto result = Init(Verify(Usual()));
  EXPECT_EQ(result.exit_status, 1) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("0.0.0.0:15006"), HasSubstr("in use"),
                                HasSubstr("the proxy runs already")));
  EXPECT_FALSE(LinkIsThere());
}

// The run after a killed one, and how it ends.
struct NextRun {
  std::string name;
  Words words;
};

class KilledRunTest : public VerifyTest, public testing::WithParamInterface<NextRun> {};

TEST_P(KilledRunTest, WhatItLeftGoesWithTheNextRun) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const Traces before = Look();
  // It waits for this one, and is killed in the middle.
  Must({"iptables-legacy", "-t", "raw", "-I", "PREROUTING", "-i", "slprobe0", "-j", "DROP"});
  Process process(pod(), InitCommand(Verify(Usual(), {"--probe-timeout", "100s"})));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto ready = [&] {
    const auto routes = netns::RouteSocket(pod()).Routes(Family::kIpv4);
    return std::ranges::any_of(routes, [](const netns::Route& route) {
      return !route.next_hops.empty() && route.next_hops.front().device == "slprobe0";
    });
  };
  while (!ready() && std::chrono::steady_clock::now() < deadline) {
  }
  // No other run removes it while its run is alive.
  EXPECT_EQ(Init({"show"}).exit_status, 0);
  EXPECT_TRUE(LinkIsThere());
  process.Signal(SIGKILL);
  EXPECT_EQ(process.Wait(std::chrono::seconds(60)).exit_status, 128 + SIGKILL);
  ASSERT_TRUE(LinkIsThere());
  Must({"iptables-legacy", "-t", "raw", "-D", "PREROUTING", "-i", "slprobe0", "-j", "DROP"});
  // Other tests sometimes hold the machine's iptables lock, and this one must not wait for it.
  Command next = InitCommand(GetParam().words);
  next.environment = {"XTABLES_LOCKFILE=/nonexistent"};
  const auto healed = RunCommand(pod(), next);
  EXPECT_EQ(healed.exit_status, 0) << healed.err;
  EXPECT_EQ(Look(), before);
}

INSTANTIATE_TEST_SUITE_P(All, KilledRunTest,
                         testing::ValuesIn(std::vector<NextRun>{{"apply", Usual()},
                                                                {"clean up", {"--cleanup-only"}},
                                                                {"diff", Diff(Usual())},
                                                                {"show", {"show"}},
                                                                {"verify", Verify(Usual())}}),
                         [](const auto& info) { return TestName(info.param.name); });

TEST_F(VerifyTest, NothingLeavesThePodWhenTheRulesAreBroken) {
  // Counts, outside, each packet from the pod to the probed addresses.
  const netns::Namespace& outside = network_->outside();
  const std::vector<std::string> probed = {"198.51.100.1", "203.0.113.9"};
  for (const std::string& address : probed) {
    ASSERT_EQ(RunCommand(outside, {.argv = {"iptables-legacy", "-t", "raw", "-A", "PREROUTING",
                                            "-d", address}})
                  .exit_status,
              0);
  }
  const auto heard = [&] {
    return RunCommand(outside, {.argv = {"iptables-legacy", "-t", "raw", "-S", "PREROUTING", "-v"}})
        .out;
  };
  EXPECT_THAT(heard(), Not(HasSubstr("-c 1 ")));
  // Nothing is installed, so every packet goes to its destination.
  const auto result = Init(Verify({"-u", "1337", "-i", "198.51.100.1/32", "-x", "203.0.113.9/32",
                                   "-b", "*", "--log-format", "json"}));
  EXPECT_EQ(result.exit_status, kInvalid);
  const Checks checks = ChecksOf(result);
  EXPECT_THAT(checks.at("IPv4 outbound to 198.51.100.1/32").second,
              HasSubstr("left the pod unchanged"));
  EXPECT_EQ(checks.at("IPv4 exempt: outbound to 203.0.113.9/32").first, "ok");
  for (const std::string& address : probed) {
    EXPECT_THAT(heard(), HasSubstr("-d " + address + "/32 -c 0 0"));
  }
  // The counter does count.
  EXPECT_EQ(Connect(pod(), {IpAddress::Parse("198.51.100.1"), 81}), "refused");
  EXPECT_THAT(heard(), HasSubstr("-d 198.51.100.1/32 -c 1 "));
}

TEST_F(VerifyTest, WildcardOfIncludedInterfacesNamesTheLink) {
  const auto result = Init(Usual({"--include-interfaces", "eth+", "--run-validation"}));
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_EQ(ChecksOf(result).at("IPv4 inbound").first, "ok");
  const auto exact = Init(Usual({"--include-interfaces", "eth0", "--run-validation"}));
  ASSERT_EQ(exact.exit_status, 0) << exact.err;
  EXPECT_EQ(ChecksOf(exact).at("IPv4 inbound").first, "not checked");
  EXPECT_EQ(ChecksOf(exact).at("IPv4 self-call of the proxy's uid 1337").first, "ok");
}

}  // namespace
}  // namespace sluice::testing_support
