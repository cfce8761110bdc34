// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The doctor's findings for given facts.

#include "doctor/judge.h"

#include <linux/capability.h>

#include <algorithm>
#include <functional>
#include <ranges>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/pod_contract.h"
#include "capture/capture_rules.h"
#include "doctor/finding.h"
#include "doctor/readers.h"

namespace sluice::doctor {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

capture::CaptureConfig Everything() {
  capture::CaptureConfig config;
  config.inbound_ports.all = true;
  config.outbound_ranges.all = true;
  config.ipv6 = true;
  return config;
}

netns::AddressEntry Address(std::string link, std::string_view text) {
  return {.link = std::move(link), .address = netns::InterfaceAddress::Parse(text)};
}

constexpr int kProxyPid = 7;

Listener ListenerOf(std::string_view ip, std::uint16_t port,
                    capture::Protocol protocol = capture::Protocol::kTcp) {
  return {.protocol = protocol,
          .address = {IpAddress::Parse(ip), port},
          .uid = 1337,
          .process = Process{
              .pid = kProxyPid, .parent = 1, .name = "sluice-proxy", .uid = 1337, .gid = 1337}};
}

// A healthy pod.
Facts Healthy(const capture::CaptureConfig& config = Everything()) {
  Facts facts;
  facts.capabilities = Capabilities{.effective = 1ULL << CAP_NET_ADMIN | 1ULL << CAP_NET_RAW};
  facts.backends = {{.name = "iptables", .ours = capture::BuildRules(config)},
                    {.name = "nftables", .ours = capture::RuleSet()}};
  facts.addresses = std::vector{Address("lo", "127.0.0.1/8"), Address("eth0", "192.0.2.2/24"),
                                Address("eth0", "fd00:2::2/64")};
  facts.conntrack = Conntrack{.count = 10, .max = 1000};
  std::vector<Listener> listeners;
  for (const char* ip : {"0.0.0.0", "::"}) {
    for (const std::uint16_t port : {pod::kOutboundPort, pod::kInboundPort})
      listeners.push_back(ListenerOf(ip, port));
    if (!config.redirect_dns) continue;
    listeners.push_back(ListenerOf(ip, 15053));
    listeners.push_back(ListenerOf(ip, 15053, capture::Protocol::kUdp));
  }
  facts.listeners = listeners;
  facts.processes =
      Processes{.all = {{.pid = 1, .name = "pause"},
                        *listeners.front().process,
                        {.pid = 9, .parent = 1, .name = "application", .uid = 1000, .gid = 1000}}};
  facts.limits[kProxyPid] = {.open_files = 1048576, .hard_open_files = 1048576};
  facts.pipe_pages = 16384;
  for (const char* link : {"all", "lo", "eth0"})
    facts.rp_filter[link] = facts.src_valid_mark[link] = 0;
  facts.ipv6_off_on_lo = false;
  facts.has_passthrough_address = true;
  facts.policy_routing = std::map<Family, std::size_t>{{Family::kIpv4, 2}, {Family::kIpv6, 2}};
  facts.resolv_conf = "/etc/resolv.conf";
  facts.resolvers = ParseResolvConf("nameserver 10.96.0.10\n");
  return facts;
}

capture::CaptureConfig WithDns() {
  auto config = Everything();
  config.redirect_dns = true;
  config.dns_servers = {IpAddress::Parse("10.96.0.10")};
  return config;
}

capture::CaptureConfig WithTproxy() {
  auto config = Everything();
  config.mode = capture::InterceptionMode::kTproxy;
  return config;
}

// "state name: found" for everything that is not ok, including checks that were not made.
std::vector<std::string> Bad(const Facts& facts) {
  std::vector<std::string> out;
  for (const Finding& one : Judge(facts)) {
    if (one.state == State::kOk) continue;
    out.push_back(std::string(Name(one.state)) + " " + one.name + ": " +
                  (one.checked ? "" : "not checked: ") + one.found);
    EXPECT_FALSE(one.checked && one.remedy.empty()) << one.name << " has no remedy";
  }
  return out;
}

TEST(DoctorJudge, NothingStandsAgainstAHealthyPod) {
  for (const auto& config : {Everything(), WithDns(), WithTproxy()}) {
    EXPECT_THAT(Bad(Healthy(config)), IsEmpty());
  }
}

TEST(DoctorJudge, EachCheckIsThereOnceWhereAllIsWell) {
  std::vector<std::string> names;
  for (const Finding& one : Judge(Healthy())) names.push_back(one.name);
  EXPECT_THAT(names, testing::UnorderedElementsAre(
                         "rules", "capabilities", "kernel-iptables", "kernel-nftables",
                         "other-backends", "foreign-rules", "listeners", "application-uid",
                         "resolv-conf", "addresses", "ipv6-lo", "rp-filter", "policy-routing",
                         "conntrack", "lock", "descriptors", "pipes"));
}

struct Case {
  const char* name;
  std::function<void(Facts&)> tweak;
  std::vector<std::string> bad;  // prefixes, worst first
  capture::CaptureConfig config = Everything();
};

BackendFacts& Iptables(Facts& facts) { return facts.backends[0]; }
BackendFacts& Nftables(Facts& facts) { return facts.backends[1]; }

std::vector<Case> Cases() {
  const auto only = [](Facts& facts, auto keep) {
    std::vector<Listener> kept;
    std::ranges::copy_if(*facts.listeners, std::back_inserter(kept), keep);
    facts.listeners = kept;
  };
  const auto as = [](Facts& facts, std::uint32_t uid, bool seen) {
    std::vector<Listener> changed = *facts.listeners;
    for (Listener& listener : changed) {
      listener.uid = listener.process->uid = listener.process->gid = uid;
      if (!seen) listener.process.reset();
    }
    facts.listeners = changed;
    Processes others = *facts.processes;
    std::erase_if(others.all, [](const Process& process) { return process.pid == kProxyPid; });
    facts.processes = others;
  };
  return {
      {"no rules",
       [](Facts& facts) { Iptables(facts).ours = capture::RuleSet(); },
       {"problem rules: no rules of Sluice are installed"}},
      {"a build without iptables",
       [](Facts& facts) {
         std::swap(Iptables(facts).ours, Nftables(facts).ours);
         Iptables(facts).in_build = false;
         facts.capabilities = Capabilities{.effective = 1ULL << CAP_NET_ADMIN};
       },
       {"note capabilities: CAP_NET_RAW is missing",
        "note kernel-iptables: iptables is not in this build"}},
      {"a build without iptables that is asked for it, on a kernel without the other one",
       [](Facts& facts) {
         Iptables(facts).ours = capture::RuleSet();
         Iptables(facts).in_build = false;
         Nftables(facts).modules = {{.name = "nf_tables", .presence = Presence::kAbsent}};
         facts.chosen = "iptables";
       },
       {"problem rules: no rules", "problem kernel-iptables: iptables is not in this build",
        "problem kernel-nftables: the kernel lacks nf_tables"}},
      {"not installed yet",
       [](Facts& facts) {
         Iptables(facts).ours = capture::RuleSet();
         facts.planned = capture::BuildRules(Everything());
         facts.listeners = std::vector<Listener>();
         facts.processes = Processes();
       },
       {"note rules: not installed yet",
        "note listeners: nothing listens on port 15006/tcp over IPv4",
        "note listeners: nothing listens on port 15001/tcp over IPv4",
        "note listeners: nothing listens on port 15006/tcp over IPv6",
        "note listeners: nothing listens on port 15001/tcp over IPv6"}},
      {"without NET_ADMIN nothing is seen",
       [](Facts& facts) {
         facts.capabilities = Capabilities();
         for (BackendFacts& backend : facts.backends) {
           backend.ours = Known<capture::RuleSet>::Not("missing CAP_NET_ADMIN");
         }
       },
       {"problem capabilities: CAP_NET_ADMIN is missing",
        "note rules: not checked: ", "note other-backends: not checked: missing CAP_NET_ADMIN",
        "note foreign-rules: not checked: ", "note listeners: not checked: ",
        "note application-uid: not checked: ", "note resolv-conf: not checked: ",
        "note rp-filter: not checked: ", "note policy-routing: not checked: ",
        "note descriptors: not checked: "}},
      {"without NET_RAW, with x_tables",
       [](Facts& facts) { facts.capabilities = Capabilities{.effective = 1ULL << CAP_NET_ADMIN}; },
       {"problem capabilities: CAP_NET_RAW is missing"}},
      {"without NET_RAW, with nf_tables",
       [](Facts& facts) {
         facts.capabilities = Capabilities{.effective = 1ULL << CAP_NET_ADMIN};
         std::swap(Iptables(facts).ours, Nftables(facts).ours);
       },
       {"note capabilities: CAP_NET_RAW is missing"}},
      {"one backend is not possible",
       [](Facts& facts) {
         Nftables(facts).modules = {{"nft_redir", Presence::kAbsent, NeededFor::kEvery},
                                    {"nft_tproxy", Presence::kAbsent, NeededFor::kTproxy}};
       },
       {"note kernel-nftables: the kernel lacks nft_redir"}},
      {"the one that is asked for is not possible",
       [](Facts& facts) {
         Nftables(facts).modules = {{"nft_redir", Presence::kAbsent, NeededFor::kEvery}};
         facts.chosen = "nftables";
       },
       {"problem kernel-nftables: the kernel lacks nft_redir",
        "note other-backends: the rules are those of iptables, and the options ask for nftables"}},
      {"modules that come when they are needed",
       [](Facts& facts) {
         Nftables(facts).modules = {{"nft_redir", Presence::kLoadable, NeededFor::kEvery}};
       },
       {"note kernel-nftables: all is there; not loaded yet: nft_redir"}},
      {"modules of which nothing is known",
       [](Facts& facts) {
         Nftables(facts).modules = {{"nft_redir", Presence::kUnknown, NeededFor::kEvery}};
       },
       {"note kernel-nftables: not checked: nft_redir"}},
      {"rules of both backends",
       [](Facts& facts) { Nftables(facts).ours = Iptables(facts).ours; },
       {"problem other-backends: rules of Sluice are installed with iptables and nftables"}},
      {"others use another backend, and capture",
       [](Facts& facts) {
         Nftables(facts).others = {"nat (chain PREROUTING)"};
         Nftables(facts).captures_of_others = {"ip nat, chain ISTIO_OUTPUT"};
       },
       {"warning other-backends: ip nat, chain ISTIO_OUTPUT (nftables), not Sluice's, captures",
        "note other-backends: others have rules of nftables: nat (chain PREROUTING), while"}},
      {"a foreign rule decides first",
       [](Facts& facts) {
         Iptables(facts).obstructions = {{.table = "nat",
                                          .chain = "OUTPUT",
                                          .text = "-p tcp -j ACCEPT",
                                          .meaning = "it passes",
                                          .certain = true},
                                         {.table = "nat",
                                          .chain = "OUTPUT",
                                          .index = 1,
                                          .text = "-m set",
                                          .meaning = "it may pass"}};
       },
       {"problem foreign-rules: IPv4 nat OUTPUT rule 1, not Sluice's, comes first",
        "warning foreign-rules: IPv4 nat OUTPUT rule 2"}},
      {"a foreign rule in nf_tables drops what is captured",
       [](Facts& facts) {
         Nftables(facts).obstructions = {{.backend = "nftables",
                                          .table = "inet fw",
                                          .chain = "in",
                                          .policy = true,
                                          .text = "policy drop",
                                          .meaning = "what matches is dropped",
                                          .counted = false,
                                          .behind = true,
                                          .certain = true}};
       },
       {"problem foreign-rules: IPv4 nftables inet fw in policy, not Sluice's, comes behind: "
        "policy "
        "drop: what matches is dropped"}},
      {"nobody listens for outbound connections over IPv6",
       [only](Facts& facts) {
         only(facts, [](const Listener& listener) {
           return listener.address.port != 15001 || listener.address.ip.is_v4();
         });
       },
       {"problem listeners: nothing listens on port 15001/tcp over IPv6"}},
      {"one socket for both families",
       [only](Facts& facts) {
         only(facts, [](const Listener& listener) { return !listener.address.ip.is_v4(); });
       },
       {}},
      {"inbound connections do not get to a loopback address",
       [](Facts& facts) {
         std::vector<Listener> changed = *facts.listeners;
         for (Listener& listener : changed) {
           if (listener.address.ip.is_v4()) listener.address.ip = IpAddress::V4(127, 0, 0, 1);
         }
         // For both families, so that no listener on [::] accepts IPv4.
         std::erase_if(changed, [](const Listener& one) { return !one.address.ip.is_v4(); });
         facts.listeners = changed;
         auto config = Everything();
         config.ipv6 = false;
         Iptables(facts).ours = capture::BuildRules(config);
         facts.addresses = std::vector{Address("eth0", "192.0.2.2/24")};
       },
       {"problem listeners: port 15006/tcp over IPv4 is listened on at 127.0.0.1:15006 only"}},
      {"the wrong user listens",
       [as](Facts& facts) { as(facts, 1000, true); },
       {"problem listeners: port 15006/tcp over IPv4 is listened on by process 7 (sluice-proxy), "
        "uid "
        "1000",
        "problem listeners: port 15001/tcp over IPv4",
        "problem listeners: port 15006/tcp over IPv6",
        "problem listeners: port 15001/tcp over IPv6"}},
      {"the wrong user listens, as far as can be seen",
       [as](Facts& facts) { as(facts, 1000, false); },
       {"warning listeners: port 15006", "warning listeners: port 15001",
        "warning listeners: port 15006", "warning listeners: port 15001",
        "note descriptors: not checked: "}},
      {"an application runs as the proxy",
       [](Facts& facts) {
         Processes changed = *facts.processes;
         changed.all.back().gid = 1337;
         facts.processes = changed;
       },
       {"problem application-uid: process 9 (application) runs as uid 1000, gid 1337"}},
      {"what starts the proxy, and what that starts, are the proxy",
       [](Facts& facts) {
         Processes changed = *facts.processes;
         changed.all[0] = {.pid = 1, .name = "agent", .uid = 1337, .gid = 1337};
         changed.all.push_back(
             {.pid = 10, .parent = kProxyPid, .name = "helper", .uid = 1337, .gid = 1337});
         facts.processes = changed;
       },
       {}},
      {"a server under the proxy's user, of a process that is not seen",
       [](Facts& facts) {
         std::vector<Listener> changed = *facts.listeners;
         Listener hidden = ListenerOf("0.0.0.0", 8080);
         hidden.process.reset();
         changed.push_back(hidden);
         facts.listeners = changed;
       },
       {"warning application-uid: port 8080 is listened on by uid 1337"}},
      {"hidden processes of the proxy's user",
       [](Facts& facts) {
         Processes changed = *facts.processes;
         changed.hidden = {{.pid = 20, .name = "x", .uid = 1000, .gid = 1000},
                           {.pid = 21, .name = "y", .uid = 1337, .gid = 1000}};
         facts.processes = changed;
       },
       {"note application-uid: not checked: none is seen, but 1 processes"}},
      {"a resolver that is not captured",
       [](Facts& facts) {
         facts.resolvers = ParseResolvConf("nameserver 10.96.0.10\nnameserver 10.96.0.11\n");
       },
       {"problem resolv-conf: the resolver 10.96.0.11 of /etc/resolv.conf is not in the DNS rules"},
       WithDns()},
      {"no resolver",
       [](Facts& facts) { facts.resolvers = ResolvConf(); },
       {"warning resolv-conf: /etc/resolv.conf names no resolver"},
       WithDns()},
      {"resolv.conf cannot be read",
       [](Facts& facts) { facts.resolvers = Known<ResolvConf>::Not("it is secret"); },
       {"note resolv-conf: not checked: it is secret"},
       WithDns()},
      {"IPv6 addresses and no rules for them",
       [](Facts& facts) {
         auto config = Everything();
         config.ipv6 = false;
         Iptables(facts).ours = capture::BuildRules(config);
       },
       {"warning addresses: there are IPv6 addresses, and no rules for them"}},
      {"an interface without an address of a family",
       [](Facts& facts) {
         auto addresses = *facts.addresses;
         addresses.push_back(Address("eth1", "fd00:3::2/64"));
         facts.addresses = addresses;
       },
       {"warning addresses: interface eth1 has no IPv4 address"}},
      {"an address that somebody else has",
       [](Facts& facts) {
         auto addresses = *facts.addresses;
         addresses.back().dad_failed = true;
         facts.addresses = addresses;
       },
       {"warning addresses: fd00:2::2/64 on eth0 is somebody else's, too"}},
      {"IPv6 is disabled on lo",
       [](Facts& facts) { facts.ipv6_off_on_lo = true; },
       {"problem ipv6-lo: IPv6 is disabled on lo"}},
      {"::6 is missing",
       [](Facts& facts) { facts.has_passthrough_address = false; },
       {"problem ipv6-lo: ::6/128 is not on lo"}},
      {"rp_filter does not matter to REDIRECT",
       [](Facts& facts) { facts.rp_filter["all"] = 1; },
       {}},
      {"rp_filter with TPROXY",
       [](Facts& facts) { facts.rp_filter["all"] = 1; },
       {"warning rp-filter: rp_filter is 1 (strict) on eth0"},
       WithTproxy()},
      {"a loose one for all wins",
       [](Facts& facts) {
         facts.rp_filter["all"] = 2;
         facts.rp_filter["eth0"] = 1;
       },
       {},
       WithTproxy()},
      {"src_valid_mark with TPROXY",
       [](Facts& facts) { facts.src_valid_mark["eth0"] = 1; },
       {"problem rp-filter: src_valid_mark is 1 on eth0"},
       WithTproxy()},
      {"policy routing is missing",
       [](Facts& facts) {
         facts.policy_routing =
             std::map<Family, std::size_t>{{Family::kIpv4, 2}, {Family::kIpv6, 1}};
       },
       {"problem policy-routing: the policy rule or the route that TPROXY needs is missing for "
        "IPv6"},
       WithTproxy()},
      {"conntrack fills up",
       [](Facts& facts) { facts.conntrack = Conntrack{.count = 800, .max = 1000}; },
       {"warning conntrack: the table is 80% full"}},
      {"conntrack is nearly full",
       [](Facts& facts) { facts.conntrack = Conntrack{.count = 950, .max = 1000}; },
       {"problem conntrack: the table is 95% full (950 of 1000 entries)"}},
      {"somebody holds the lock",
       [](Facts& facts) {
         facts.lock_holders = {{"/run/xtables.lock", 12, "iptables"}};
       },
       {"warning lock: process 12 (iptables) holds the lock of /run/xtables.lock"}},
      {"few descriptors",
       [](Facts& facts) {
         facts.limits[kProxyPid] = {.open_files = 1024, .hard_open_files = 4096};
       },
       {"warning descriptors: the proxy (process 7) may open 1024 files"}},
      {"few pages for pipes",
       [](Facts& facts) { facts.pipe_pages = 64; },
       {"note pipes: a user may have 64 pages in pipes"}},
  };
}

TEST(DoctorJudge, EachFactGivesItsFinding) {
  for (const Case& one : Cases()) {
    SCOPED_TRACE(one.name);
    Facts facts = Healthy(one.config);
    one.tweak(facts);
    const auto bad = Bad(facts);
    EXPECT_EQ(bad.size(), one.bad.size()) << testing::PrintToString(bad);
    for (std::size_t i = 0; i < std::min(bad.size(), one.bad.size()); ++i) {
      EXPECT_TRUE(bad[i].starts_with(one.bad[i])) << bad[i] << "\nis not: " << one.bad[i];
    }
  }
}

TEST(DoctorJudge, TextAndJsonHaveTheWorstFirst) {
  Facts facts = Healthy();
  facts.conntrack = Conntrack{.count = 1, .max = 1};
  facts.pipe_pages = 1;
  facts.resolvers = {};
  const auto findings = Judge(facts);
  EXPECT_TRUE(HasProblem(findings));
  EXPECT_EQ(Summary(findings), "1 problem, 1 note, 15 ok");
  EXPECT_TRUE(ToText(findings).starts_with("problem  conntrack: the table is 100% full"));
  EXPECT_THAT(ToText(findings), HasSubstr("\n           remedy: on the node: raise"));
  const boost::json::value json = boost::json::parse(ToJson(findings));
  EXPECT_EQ(json.at("result"), "problem");
  EXPECT_EQ(json.at("checks").at(0).at("name"), "conntrack");
  EXPECT_EQ(json.at("checks").at(1).at("state"), "note");
  EXPECT_FALSE(HasProblem(Judge(Healthy())));
}

// For the running kernel; only checks that each question has an answer.
TEST(DoctorReaders, ModulesOfThisKernel) {
  const KernelModules modules;
  EXPECT_EQ(modules.Of("iptables").size(), 16U);
  EXPECT_EQ(modules.Of("nftables").size(), 7U);
  EXPECT_NE(modules.Find("no_such_module"), Presence::kThere);
}

}  // namespace
}  // namespace sluice::doctor
