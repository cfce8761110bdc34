// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Foreign rules that decide before Sluice's: show, diff, verify and an apply report them, with
// their effect; and report no others.

#include <ostream>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/init_foreign_fixture.h"
#include "test/support/capture_cases.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

namespace json = boost::json;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

using Words = std::vector<std::string>;

struct Foreign {
  std::string name;
  std::vector<std::string> commands;  // for iptables-legacy and ip6tables-legacy
  std::string place;                  // empty: nothing to report
  std::string says;
  bool certain = true;
  Words config = {};
  // It ends its table, and no more. Rules of nf_tables are asked all the same.
  bool ends_its_table = false;

  bool IsToBeNamed() const { return !place.empty() && !(ends_its_table && TestsNftables()); }
};

// For the name of the test.
void PrintTo(const Foreign& foreign, std::ostream* out) { *out << foreign.name; }

Foreign EndsItsTable(Foreign foreign) {
  foreign.ends_its_table = true;
  return foreign;
}

class ForeignTest : public ForeignRulesTest {
 protected:
  void Add(const Foreign& foreign) const {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      for (const std::string& command : foreign.commands) Iptables(pod(), family, command);
    }
  }
};

class InitForeign : public ForeignTest, public testing::WithParamInterface<Foreign> {};

TEST_P(InitForeign, IsNamedWhereverItMatters) {
  const Foreign& foreign = GetParam();
  const Words config = Config(foreign.config);
  const Words cold = Warnings(RunInit(pod(), config));
  EXPECT_THAT(cold, IsEmpty());
  Add(foreign);

  const auto diff = RunInit(pod(), With({"diff"}, config));
  EXPECT_EQ(diff.exit_status, 0) << "foreign rules are no drift" << diff.out;
  const auto again = RunInit(pod(), config);
  const auto show = RunInit(pod(), {"show"});
  const auto verify = RunInit(pod(), With({"verify", "--probe-timeout", "300ms"}, config));
  const auto checks = json::parse(verify.err).at("checks").as_array();
  if (!foreign.IsToBeNamed()) {
    EXPECT_THAT(Warnings(diff), IsEmpty());
    EXPECT_THAT(Warnings(again), IsEmpty());
    EXPECT_THAT(show.out, Not(HasSubstr("foreign rules")));
    EXPECT_EQ(verify.exit_status, 0) << verify.err;
    return;
  }
  for (const auto& result : {diff, again}) {
    const Words warnings = Warnings(result);
    ASSERT_EQ(warnings.size(), 2U) << result.err;
    EXPECT_THAT(warnings, Each(AllOf(HasSubstr(foreign.place), HasSubstr(foreign.says),
                                     HasSubstr("0 packets, 0 bytes"))));
  }
  EXPECT_THAT(show.out, AllOf(HasSubstr("# foreign rules that decide first\n"),
                              HasSubstr(foreign.place), HasSubstr(foreign.says)));
  int named = 0;
  for (const json::value& check : checks) {
    if (std::string_view(check.at("path").as_string()) != "foreign rules: " + foreign.place) {
      continue;
    }
    ++named;
    EXPECT_EQ(std::string_view(check.at("status").as_string()),
              foreign.certain ? "failed" : "not checked");
    EXPECT_THAT(std::string(check.at("detail").as_string()), HasSubstr(foreign.says));
  }
  EXPECT_EQ(named, 2) << verify.err;
  EXPECT_EQ(verify.exit_status, foreign.certain ? 126 : 0) << verify.err;
}

const std::vector<Foreign>& Rules() {
  static const std::vector<Foreign> all = {
      EndsItsTable({"one port accepted",
                    {"-t nat -I OUTPUT -p tcp --dport 80 -j ACCEPT"},
                    "nat OUTPUT rule 1",
                    "-p tcp -m tcp --dport 80 -j ACCEPT"}),
      EndsItsTable({"an interface accepted",
                    {"-t nat -I OUTPUT -o eth0 -j ACCEPT"},
                    "nat OUTPUT rule 1",
                    "-o eth0 -j ACCEPT"}),
      EndsItsTable({"a client's interface returned",
                    {"-t nat -I PREROUTING -i eth0 -j RETURN"},
                    "nat PREROUTING rule 1",
                    "does not come to Sluice's rules"}),
      {"not tracked",
       {"-t raw -A PREROUTING -i eth0 -p tcp -j CT --notrack"},
       "raw PREROUTING rule 1",
       "-i eth0 -p tcp -j CT --notrack"},
      {"dropped in mangle",
       {"-t mangle -A OUTPUT -o eth0 -p tcp --dport 443 -j DROP"},
       "mangle OUTPUT rule 1",
       "what matches is dropped"},
      {"redirected by another",
       {"-t nat -I OUTPUT -p tcp --dport 8080 -j REDIRECT --to-ports 9090"},
       "nat OUTPUT rule 1",
       "what matches goes to port 9090"},
      EndsItsTable({"in a chain of its own",
                    {"-t nat -N OTHER", "-t nat -A OTHER -p tcp --dport 81 -j ACCEPT",
                     "-t nat -I OUTPUT -o eth0 -j OTHER"},
                    "nat OUTPUT rule 1",
                    "the chain OTHER may decide about what matches, by \"-p tcp -m tcp --dport 81 "
                    "-j ACCEPT\"",
                    false}),
      EndsItsTable({"on a condition that is not known",
                    {"-t nat -I OUTPUT -p tcp -m multiport --dports 80,81 -j ACCEPT"},
                    "nat OUTPUT rule 1",
                    "-p tcp -m multiport ... -j ACCEPT",
                    false}),
      EndsItsTable({"with a comment",
                    {"-t nat -I OUTPUT -p tcp --dport 80 -m comment --comment mine -j ACCEPT"},
                    "nat OUTPUT rule 1",
                    "-m comment ... -j ACCEPT"}),
      {"taken by another transparent proxy",
       {"-t mangle -I PREROUTING -i eth0 -p tcp -j TPROXY --on-port 8888 --tproxy-mark 0x1/0x1"},
       "mangle PREROUTING rule 1",
       "what matches goes to the transparent port 8888"},
      EndsItsTable({"before TPROXY",
                    {"-t mangle -I PREROUTING -i eth0 -p tcp --dport 80 -j ACCEPT"},
                    "mangle PREROUTING rule 1",
                    "does not come to Sluice's rules",
                    true,
                    {"-m", "TPROXY"}}),
      // Nothing to be said:
      {"behind ours", {"-t nat -A OUTPUT -p tcp --dport 80 -j ACCEPT"}, "", ""},
      {"another protocol", {"-t nat -I OUTPUT -p 132 -j ACCEPT"}, "", ""},
      {"counts only", {"-t nat -I OUTPUT -p tcp"}, "", ""},
      {"marks only", {"-t mangle -I OUTPUT -j MARK --set-xmark 0x4000/0x4000"}, "", ""},
      {"accepted in an earlier table", {"-t mangle -I OUTPUT -p tcp -j ACCEPT"}, "", ""},
      {"known connections only",
       {"-t mangle -I PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"},
       "",
       "",
       true,
       {"-m", "TPROXY"}},
      {"what we exempt, too",
       {"-t nat -I OUTPUT -m owner --uid-owner 1337 -o eth0 -j ACCEPT"},
       "",
       ""},
      {"an excluded port",
       {"-t nat -I OUTPUT -p tcp --dport 22 -j ACCEPT"},
       "",
       "",
       true,
       {"-o", "22"}},
      {"a hook that is not ours", {"-t nat -I POSTROUTING -j ACCEPT"}, "", ""},
      {"a chain that decides nothing",
       {"-t nat -N OTHER", "-t nat -A OTHER -j RETURN", "-t nat -I OUTPUT -j OTHER"},
       "",
       ""},
  };
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, InitForeign, testing::ValuesIn(Rules()),
                         [](const auto& info) { return TestName(info.param.name); });

using InitForeignRules = ForeignTest;

TEST_F(InitForeignRules, CountWhatTheyDecided) {
  ASSERT_EQ(RunInit(pod(), Config({})).exit_status, 0);
  Iptables(pod(), Family::kIpv4, "-t nat -I OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 82");
  EXPECT_EQ(Connect(pod(), {IpAddress::Parse("198.51.100.1"), 80}, {.who = kApplication}),
            "refused");
  EXPECT_THAT(RunInit(pod(), {"show"}).out,
              HasSubstr("IPv4 nat OUTPUT rule 1, not Sluice's, comes first: -p tcp -m tcp --dport "
                        "80 -j REDIRECT --to-ports 82 (1 packets, 60 bytes): "));
  const json::value shown = json::parse(RunInit(pod(), {"show", "--output", "json"}).out);
  const json::value& found = shown.at("foreign").at(0);
  EXPECT_EQ(found.at("packets").to_number<int>(), 1);
  EXPECT_EQ(found.at("position").to_number<int>(), 1);
  EXPECT_EQ(found.at("chain"), "OUTPUT");
}

TEST_F(InitForeignRules, ThatAreThereBeforeTheFirstRunAreNamed) {
  Iptables(pod(), Family::kIpv4, "-t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 82");
  const auto first = RunInit(pod(), Config({}));
  EXPECT_EQ(first.exit_status, 0);
  EXPECT_EQ(Warnings(first).size(), 1U) << first.err;
  EXPECT_THAT(Warnings(RunInit(pod(), {"--cleanup-only", "--log-format", "json"})), IsEmpty());
}

// Behind our jump nothing of x_tables decides any more; before our chains of nf_tables all does.
TEST_F(InitForeignRules, ThatWereAddedBehindOurs) {
  const Listeners there(
      pod(), {{.port = 15001, .answer = "out15001"}, {.port = 9090, .answer = "another's"}});
  ASSERT_EQ(RunInit(pod(), Config({})).exit_status, 0);
  Iptables(pod(), Family::kIpv4, "-t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 9090");
  EXPECT_EQ(Connect(pod(), {IpAddress::Parse("198.51.100.1"), 80}, {.who = kApplication}),
            TestsNftables() ? "another's" : "out15001");
  const Words warnings = Warnings(RunInit(pod(), Config({})));
  EXPECT_EQ(warnings.size(), TestsNftables() ? 1U : 0U);
  EXPECT_THAT(warnings, Each(HasSubstr("what matches goes to port 9090")));
}

}  // namespace
}  // namespace sluice::testing_support
