// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Foreign rules in nf_tables that decide about what Sluice's capture: an apply, diff, show,
// verify and doctor report them, with their effect; and report no others. The tests of
// init_foreign_test.cc are about rules of x_tables.

#include <algorithm>
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

struct NftForeign {
  std::string name;
  std::string rules;  // for nft(8); or, if it begins with "-", for iptables-nft and ip6tables-nft
  std::string place;  // empty: nothing to report
  std::string says = {};
  std::size_t families = 2;
  bool certain = true;
  // At the priority of x_tables' nat: which of the two is asked first is not known.
  bool tied_with_xtables = false;
  bool behind = false;
  Words config = {};

  bool IsCertain() const { return certain && (TestsNftables() || !tied_with_xtables); }
};

// For the name of the test.
void PrintTo(const NftForeign& foreign, std::ostream* out) { *out << foreign.name; }

class InitForeignNft : public ForeignRulesTest, public testing::WithParamInterface<NftForeign> {
 protected:
  static Words Config() { return ForeignRulesTest::Config(GetParam().config); }

  void Add() const {
    const std::string& rules = GetParam().rules;
    if (!rules.starts_with("-")) return Nft(pod(), rules);
    for (const std::string program : {"iptables-nft", "ip6tables-nft"}) {
      Command command{.argv = {"sh", "-c", program + " " + rules}};
      ASSERT_EQ(RunCommand(pod(), command).exit_status, 0);
    }
  }
};

TEST_P(InitForeignNft, IsNamedWhereverItMatters) {
  const NftForeign& foreign = GetParam();
  EXPECT_THAT(Warnings(RunInit(pod(), Config())), IsEmpty());
  Add();

  const auto diff = RunInit(pod(), With({"diff"}, Config()));
  EXPECT_EQ(diff.exit_status, 0) << "foreign rules are no drift" << diff.out;
  const auto again = RunInit(pod(), Config());
  const auto show = RunInit(pod(), {"show"});
  const auto shown = json::parse(RunInit(pod(), {"show", "--output", "json"}).out);
  const auto doctor = RunInit(pod(), {"doctor"});
  const auto verify = RunInit(pod(), With({"verify", "--probe-timeout", "300ms"}, Config()));
  if (foreign.place.empty()) {
    EXPECT_THAT(Warnings(diff), IsEmpty());
    EXPECT_THAT(Warnings(again), IsEmpty());
    EXPECT_THAT(show.out, Not(HasSubstr("foreign rules that decide")));
    EXPECT_THAT(shown.at("foreign").as_array(), IsEmpty());
    EXPECT_THAT(doctor.out, Not(AnyOf(HasSubstr("not Sluice's, comes"), HasSubstr("not read"))));
    EXPECT_THAT(verify.err, Not(HasSubstr("foreign rules: ")));
    return;
  }
  const std::string comes = foreign.behind ? "comes behind: " : "comes first: ";
  for (const auto& result : {diff, again}) {
    const Words warnings = Warnings(result);
    ASSERT_EQ(warnings.size(), foreign.families) << result.err;
    EXPECT_THAT(warnings,
                Each(AllOf(HasSubstr(foreign.place), HasSubstr(foreign.says), HasSubstr(comes))));
  }
  EXPECT_THAT(show.out, AllOf(HasSubstr("# foreign rules that decide first\n"),
                              HasSubstr(foreign.place), HasSubstr(foreign.says)));
  const json::array& found = shown.at("foreign").as_array();
  ASSERT_EQ(found.size(), foreign.families);
  EXPECT_EQ(found[0].at("backend"), "nftables");
  EXPECT_EQ(found[0].at("certain"), foreign.IsCertain());
  EXPECT_THAT(doctor.out, AllOf(HasSubstr("foreign-rules"), HasSubstr(foreign.place)));
  std::size_t named = 0;
  const json::array checks = json::parse(verify.err).at("checks").as_array();
  for (const json::value& check : checks) {
    const std::string path(check.at("path").as_string());
    if (!path.starts_with("foreign rules: ") || path.find(foreign.place) == path.npos) continue;
    ++named;
    EXPECT_EQ(std::string_view(check.at("status").as_string()),
              foreign.IsCertain() ? "failed" : "not checked");
    EXPECT_THAT(std::string(check.at("detail").as_string()), HasSubstr(foreign.says));
  }
  EXPECT_EQ(named, foreign.families) << verify.err;
  EXPECT_TRUE(verify.exit_status == 126 || !foreign.IsCertain()) << verify.err;
}

// A table "inet other" with one base chain.
std::string InChain(const std::string& base, const std::string& rules) {
  return "table inet other {\n chain c {\n type " + base + "; " + rules + "\n }\n}\n";
}

const std::vector<NftForeign>& NftRules() {
  static const std::vector<NftForeign> all = {
      {"dropped before", InChain("filter hook output priority -150", "tcp dport 443 counter drop"),
       "nftables inet other c rule 1 (handle ",
       "th dport 443 counter drop (0 packets, 0 bytes): what matches is dropped (such as tcp to "},
      {"dropped by a policy",
       InChain("filter hook output priority -150; policy drop",
               "ct state established,related accept\n oif lo accept\n tcp dport 80 accept"),
       "nftables inet other c policy", "policy drop: what matches is dropped"},
      {"refused",
       InChain("filter hook prerouting priority -140", "iifname \"eth*\" tcp dport 8080 reject"),
       "nftables inet other c rule 1 (handle ", "reject (no counter): what matches is refused"},
      {"redirected by another",
       InChain("nat hook output priority -110", "tcp dport { 8080, 8081 } redirect to :9090"),
       "nftables inet other c rule 1 (handle ", "what matches goes to port 9090"},
      {"to another address, by a map as kube-proxy has it",
       R"(table ip kube {
            map services {
              type ipv4_addr . inet_proto . inet_service : verdict
              elements = { 10.96.0.10 . tcp . 80 : goto service }
            }
            chain service { meta l4proto tcp dnat to 10.244.3.3:8080; }
            chain output {
              type nat hook output priority -105
              ip daddr . meta l4proto . th dport vmap @services
            }
          })",
       "nftables ip kube service rule 1 (handle ",
       "what matches goes to 10.244.3.3:8080 (such as tcp to 10.96.0.10:80)", 1},
      {"Docker's DNS",
       R"(table ip docker {
            chain output {
              type nat hook output priority -100
              ip daddr 127.0.0.11 jump dns
            }
            chain dns { udp dport 53 dnat to 127.0.0.11:38765; }
          })",
       "nftables ip docker dns rule 1 (handle ",
       "what matches goes to port 38765",
       1,
       true,
       true,
       false,
       {"--redirect-dns", "--capture-all-dns"}},
      {"not tracked",
       InChain("filter hook prerouting priority -300", "iifname \"eth0\" tcp dport 8080 notrack"),
       "nftables inet other c rule 1 (handle ", "what matches is not tracked"},
      {"on a condition that is not known",
       InChain("filter hook output priority -150", "meta pkttype multicast tcp dport 80 drop"),
       "nftables inet other c rule 1 (handle ",
       "whether it decides about what comes there is not known", 2, false},
      {"a firewall that does not know the proxy's ports",
       InChain("filter hook input priority 0; policy drop",
               "ct state established accept\n iif lo accept\n tcp dport 8080 accept"),
       "nftables inet other c policy", "what matches is dropped (such as tcp from ", 2, true, false,
       true},
      {"of iptables-nft", "-t mangle -I OUTPUT -o eth0 -p tcp --dport 443 -j DROP",
       "mangle OUTPUT rule 1 (handle ", "(0 packets, 0 bytes): what matches is dropped"},
      {"redirected by iptables-nft",
       "-t nat -I OUTPUT -p tcp -m multiport --dports 81,82 -j REDIRECT --to-ports 9090",
       "nat OUTPUT rule 1 (handle ", "what matches goes to port 9090", 2, true, true},
      // Nothing to be said:
      {"accepted, which ends nothing but its chain",
       InChain("nat hook output priority -110", "tcp dport 80 accept"), ""},
      {"accepted by iptables-nft", "-t nat -I OUTPUT -p tcp -j ACCEPT", ""},
      {"counts and marks",
       InChain("route hook output priority -160", "counter\n meta mark set 0x4000"), ""},
      {"behind ours", InChain("nat hook output priority -50", "tcp dport 80 redirect to :9090"),
       ""},
      {"another protocol", InChain("filter hook output priority -150", "meta l4proto sctp drop"),
       ""},
      {"what we exempt", InChain("filter hook output priority -150", "meta skuid 1337 drop"), ""},
      {"an excluded port",
       InChain("nat hook output priority -110", "tcp dport 22 redirect to :9090"),
       "",
       "",
       2,
       true,
       false,
       false,
       {"-o", "22"}},
      {"a firewall that knows the proxy's ports",
       InChain("filter hook input priority 0; policy drop",
               "ct state established accept\n iif lo accept\n tcp dport { 8080, 15006 } accept"),
       ""},
      {"a firewall that drops the same without Sluice",
       InChain("filter hook input priority 0",
               "ip saddr 203.0.113.0/24 drop\n"
               "ip6 saddr 2001:db8:113::/48 drop"),
       ""},
      {"a filter behind what is redirected", "-I OUTPUT -p tcp --dport 443 -j DROP", ""},
      {"known connections only",
       InChain("filter hook prerouting priority -160", "ct state invalid,established accept"), ""},
      {"a table without a base chain", "table inet other { chain c { drop; }; }", ""},
  };
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, InitForeignNft, testing::ValuesIn(NftRules()),
                         [](const auto& info) { return TestName(info.param.name); });

}  // namespace
}  // namespace sluice::testing_support
