// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// RouteSocket with a real kernel: what is added is listed, what exists already is told from
// failures, and refusals are explained.

#include "netns/route_socket.h"

#include <algorithm>
#include <functional>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "netns/cable.h"
#include "netns/sysctl.h"
#include "test/support/command.h"
#include "test/support/error_of.h"
#include "test/support/in_namespace.h"

namespace sluice::netns {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing_support::CallIn;
using testing_support::ErrorOf;
using testing_support::MissingPrivilege;

InterfaceAddress Address(std::string_view text) { return InterfaceAddress::Parse(text); }

// The policy rule of TPROXY.
PolicyRule MarkRule(Family family) {
  return {.family = family, .priority = 1337, .mark = 1337, .mask = 0xffffffff, .table = 133};
}

Route LocalRoute(Family family) {
  return {.destination = Cidr::Parse(family == Family::kIpv4 ? "0.0.0.0/0" : "::/0"),
          .type = RouteType::kLocal,
          .table = 133,
          .next_hops = {{.device = "lo"}}};
}

class RouteSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    one_ = std::make_unique<Namespace>(Namespace::CreateAnonymous());
    other_ = std::make_unique<Namespace>(Namespace::CreateAnonymous());
    PrepareNamespace(*one_);
    PrepareNamespace(*other_);
    routes_ = std::make_unique<RouteSocket>(*one_);
  }

  // Connects eth0 of both, with 192.0.2.1 and 192.0.2.2, fd00:2::1 and fd00:2::2.
  void Join() {
    AddCable({one_.get(), "eth0", {Address("192.0.2.1/24"), Address("fd00:2::1/64")}},
             {other_.get(), "eth0", {Address("192.0.2.2/24"), Address("fd00:2::2/64")}});
  }

  std::vector<InterfaceAddress> AddressesOf(std::string_view link) {
    std::vector<InterfaceAddress> out;
    for (const AddressEntry& entry : routes_->Addresses()) {
      if (entry.link == link && entry.scope != AddressScope::kLink) out.push_back(entry.address);
    }
    return out;
  }

  std::unique_ptr<Namespace> one_;
  std::unique_ptr<Namespace> other_;
  std::unique_ptr<RouteSocket> routes_;
};

// --- links ---

TEST_F(RouteSocketTest, KnowsTheNamespaceThatItSpeaksFor) {
  const auto where = routes_->Where();
  ASSERT_TRUE(where);
  EXPECT_EQ(where->Identity(), one_->Identity());
  EXPECT_EQ(where->name(), one_->Identity().ToString());
  const bool told = CallIn(*one_, testing_support::kApplication,
                           [] { return RouteSocket().Where().has_value(); });
  EXPECT_FALSE(told) << "without CAP_NET_ADMIN";
}

TEST_F(RouteSocketTest, VethHasItsEndsWhereTheyWereAskedFor) {
  RouteSocket other(*other_);
  // From a third place: the socket's namespace need not be one of the two.
  RouteSocket(Namespace::CreateAnonymous())
      .AddVeth({.name = "left", .name_space = one_.get()},
               {.name = "right", .name_space = other_.get()});
  ASSERT_TRUE(routes_->FindLink("left").has_value());
  ASSERT_TRUE(other.FindLink("right").has_value());
  EXPECT_FALSE(routes_->FindLink("right").has_value());
  EXPECT_FALSE(routes_->FindLink("left")->up);
  EXPECT_FALSE(routes_->FindLink("left")->loopback);
}

TEST_F(RouteSocketTest, LinkGoesUpAndDownAndTakesAnMtu) {
  Join();
  EXPECT_TRUE(routes_->FindLink("eth0")->up);
  EXPECT_TRUE(routes_->FindLink("eth0")->ready);
  routes_->SetMtu("eth0", 1400);
  EXPECT_EQ(routes_->FindLink("eth0")->mtu_bytes, 1400U);
  routes_->SetUp("eth0", false);
  EXPECT_FALSE(routes_->FindLink("eth0")->up);
  EXPECT_FALSE(routes_->FindLink("eth0")->ready);
  EXPECT_THAT(ErrorOf([&] { routes_->SetMtu("eth0", 10); }).what(), HasSubstr("MTU"));
}

TEST_F(RouteSocketTest, LinkMovesUnderANewName) {
  Join();
  routes_->MoveLink("eth0", *other_, "eth7");
  EXPECT_FALSE(routes_->FindLink("eth0").has_value());
  EXPECT_TRUE(RouteSocket(*other_).FindLink("eth7").has_value());
}

TEST_F(RouteSocketTest, DeletedLinkTakesItsOtherEndAlong) {
  Join();
  EXPECT_EQ(routes_->DeleteLink("eth0"), Change::kDone);
  EXPECT_EQ(routes_->DeleteLink("eth0"), Change::kAlready);
  EXPECT_FALSE(RouteSocket(*other_).FindLink("eth0").has_value());
}

TEST_F(RouteSocketTest, TakenOrImpossibleNameOfALinkIsAnError) {
  Join();
  EXPECT_THAT(ErrorOf([&] { routes_->AddVeth({.name = "eth0"}, {.name = "x"}); }).what(),
              HasSubstr("eth0 and x"));
  EXPECT_FALSE(routes_->FindLink("x").has_value());
  const std::string longer = "exactly15bytes-and-more";
  for (const auto& use : std::vector<std::function<void()>>{
           [&] { routes_->AddVeth({.name = longer}, {.name = "x"}); },
           [&] { routes_->AddVeth({.name = "x"}, {.name = longer}); },
           [&] { routes_->MoveLink("eth0", *other_, longer); },
           [&] { routes_->DeleteLink(longer); }, [&] { routes_->SetUp("", true); }}) {
    EXPECT_THAT(ErrorOf(use).what(), HasSubstr("1 to 15 bytes"));
  }
  const Error missing = ErrorOf([&] { routes_->SetUp("eth9", true); });
  EXPECT_THAT(missing.what(), HasSubstr("there is no such network device"));
  EXPECT_EQ(missing.text().target, "eth9");
}

TEST_F(RouteSocketTest, SpeaksForTheNamespaceInWhichItWasOpened) {
  Join();
  const ScopedNamespace elsewhere(Namespace::CreateAnonymous());
  EXPECT_TRUE(routes_->FindLink("eth0").has_value());
  EXPECT_FALSE(RouteSocket().FindLink("eth0").has_value());
}

// --- addresses ---

TEST_F(RouteSocketTest, AddressesAreListedWithLinkScopeAndFlags) {
  Join();
  const auto addresses = routes_->Addresses();
  const int index = routes_->FindLink("eth0")->index;
  EXPECT_THAT(addresses, Contains(AddressEntry{.link = "eth0",
                                               .link_index = index,
                                               .address = Address("192.0.2.1/24"),
                                               .scope = AddressScope::kGlobal}));
  EXPECT_THAT(addresses, Contains(AddressEntry{.link = "eth0",
                                               .link_index = index,
                                               .address = Address("fd00:2::1/64"),
                                               .scope = AddressScope::kGlobal}));
  EXPECT_THAT(addresses, Contains(AddressEntry{.link = "lo",
                                               .link_index = 1,
                                               .address = Address("::1/128"),
                                               .scope = AddressScope::kHost}));
  const auto is_link_local = [](const AddressEntry& entry) {
    return entry.address.ip.IsLinkLocal() && entry.scope == AddressScope::kLink;
  };
  EXPECT_EQ(std::ranges::count_if(addresses, is_link_local), 1);
}

TEST_F(RouteSocketTest, AddressesOfOneFamily) {
  Join();
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const auto addresses = routes_->Addresses(family);
    EXPECT_THAT(addresses, Not(IsEmpty()));
    for (const AddressEntry& entry : addresses) EXPECT_EQ(entry.address.ip.family(), family);
  }
}

TEST_F(RouteSocketTest, NamespaceWithNothingUpHasNoAddress) {
  EXPECT_THAT(RouteSocket(Namespace::CreateAnonymous()).Addresses(), IsEmpty());
}

TEST_F(RouteSocketTest, AddressIsAddedOnceAndRemovedOnce) {
  for (const std::string_view text : {"::6/128", "198.51.100.1/32", "2001:db8::1/64"}) {
    const InterfaceAddress address = Address(text);
    EXPECT_EQ(routes_->AddAddress("lo", address), Change::kDone) << text;
    EXPECT_EQ(routes_->AddAddress("lo", address), Change::kAlready) << text;
    EXPECT_THAT(AddressesOf("lo"), Contains(address));
    EXPECT_EQ(routes_->RemoveAddress("lo", address), Change::kDone) << text;
    EXPECT_EQ(routes_->RemoveAddress("lo", address), Change::kAlready) << text;
    EXPECT_THAT(AddressesOf("lo"), Not(Contains(address)));
  }
}

TEST_F(RouteSocketTest, DuplicateAddressDetectionIsSkippedUnlessWanted) {
  Join();
  {
    const ScopedNamespace inside(*one_);
    WriteSysctl("ipv6/conf/eth0/accept_dad", "1");
    WriteSysctl("ipv6/conf/eth0/dad_transmits", "100");  // keeps it running during this test
  }
  routes_->AddAddress("eth0", Address("fd00:2::7/64"));
  routes_->AddAddress("eth0", Address("fd00:2::8/64"), Dad::kAsTheLink);
  const auto entry = [&](std::string_view text) {
    const auto addresses = routes_->Addresses(Family::kIpv6);
    const auto found = std::ranges::find(addresses, Address(text), &AddressEntry::address);
    return found == addresses.end() ? AddressEntry{} : *found;
  };
  EXPECT_TRUE(entry("fd00:2::7/64").no_dad);
  EXPECT_FALSE(entry("fd00:2::7/64").tentative);
  EXPECT_FALSE(entry("fd00:2::8/64").no_dad);
  EXPECT_TRUE(entry("fd00:2::8/64").tentative);
}

TEST_F(RouteSocketTest, Ipv6ThatIsDisabledOnTheLinkIsSaidWithTheRemedy) {
  {
    const ScopedNamespace inside(*one_);
    WriteSysctl("ipv6/conf/lo/disable_ipv6", "1");
    EXPECT_EQ(ReadSysctl("ipv6/conf/lo/disable_ipv6"), "1");
  }
  const Error error = ErrorOf([&] { routes_->AddAddress("lo", Address("::6/128")); });
  EXPECT_EQ(error.kind(), ErrorKind::kKernelFeature);
  EXPECT_THAT(error.text().why, HasSubstr("IPv6 is disabled"));
  EXPECT_THAT(error.text().help, HasSubstr("net.ipv6.conf.lo.disable_ipv6"));
}

// As on nodes that have it disabled for all devices to come.
TEST_F(RouteSocketTest, CableIsReadyWithoutIpv6) {
  for (const Namespace* where : {one_.get(), other_.get()}) {
    const ScopedNamespace inside(*where);
    WriteSysctl("ipv6/conf/default/disable_ipv6", "1");
  }
  AddCable({one_.get(), "eth0", {Address("192.0.2.1/24")}},
           {other_.get(), "eth0", {Address("192.0.2.2/24")}});
  const auto link = routes_->FindLink("eth0");
  ASSERT_TRUE(link);
  EXPECT_TRUE(link->operates);
  EXPECT_FALSE(link->ready);
}

// --- routes ---

TEST_F(RouteSocketTest, RouteIsAddedOnceListedAndRemovedOnce) {
  Join();
  for (const auto& [destination, gateway] :
       {std::pair("0.0.0.0/0", "192.0.2.2"), std::pair("10.96.0.0/12", "192.0.2.2"),
        std::pair("::/0", "fd00:2::2"), std::pair("2001:db8::/32", "fd00:2::2")}) {
    const Route route = {.destination = Cidr::Parse(destination),
                         .next_hops = {{.gateway = IpAddress::Parse(gateway)}}};
    const auto listed = [&] {
      const auto routes = routes_->Routes(route.destination.family());
      return std::ranges::count_if(routes, [&](const Route& r) { return Satisfies(r, route); });
    };
    EXPECT_EQ(routes_->AddRoute(route), Change::kDone) << route;
    EXPECT_EQ(routes_->AddRoute(route), Change::kAlready) << route;
    EXPECT_EQ(listed(), 1) << route;
    EXPECT_EQ(routes_->RemoveRoute(route), Change::kDone) << route;
    EXPECT_EQ(routes_->RemoveRoute(route), Change::kAlready) << route;
    EXPECT_EQ(listed(), 0) << route;
  }
}

TEST_F(RouteSocketTest, LocalRouteInATableOfItsOwn) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const Route route = LocalRoute(family);
    EXPECT_THAT(routes_->Routes(family, 133), IsEmpty());
    EXPECT_EQ(routes_->AddRoute(route), Change::kDone);
    EXPECT_EQ(routes_->AddRoute(route), Change::kAlready);
    const auto listed = routes_->Routes(family, 133);
    ASSERT_EQ(listed.size(), 1U);
    EXPECT_TRUE(Satisfies(listed[0], route)) << listed[0];
    EXPECT_THAT(routes_->Routes(family), Not(Contains(listed[0])));
    EXPECT_EQ(routes_->RemoveRoute(route), Change::kDone);
    EXPECT_THAT(routes_->Routes(family, 133), IsEmpty());
  }
}

TEST_F(RouteSocketTest, TableNumberNeedsNoByteOnly) {
  Route route = LocalRoute(Family::kIpv4);
  route.table = 70'000;
  routes_->AddRoute(route);
  EXPECT_THAT(routes_->Routes(Family::kIpv4, 70'000), ElementsAre(route));
}

TEST_F(RouteSocketTest, MultipathRouteKeepsEveryNextHop) {
  Join();
  for (const auto& [destination, first, second] :
       {std::tuple("10.96.0.10/32", "192.0.2.2", "192.0.2.3"),
        std::tuple("fd00:96::10/128", "fd00:2::2", "fd00:2::3")}) {
    const Route route = {
        .destination = Cidr::Parse(destination),
        .next_hops = {{"eth0", IpAddress::Parse(first)}, {"eth0", IpAddress::Parse(second)}}};
    EXPECT_EQ(routes_->AddRoute(route), Change::kDone);
    const auto listed = routes_->Routes(route.destination.family());
    EXPECT_EQ(std::ranges::count_if(listed, [&](const Route& r) { return Satisfies(r, route); }), 1)
        << testing::PrintToString(listed);
  }
}

TEST_F(RouteSocketTest, RefusedRouteCarriesTheKernelsSentence) {
  Join();
  const Error error = ErrorOf([&] {
    routes_->AddRoute({.destination = Cidr::Parse("10.0.0.0/8"),
                       .next_hops = {{.gateway = IpAddress::Parse("9.9.9.9")}}});
  });
  EXPECT_EQ(error.kind(), ErrorKind::kFailed);
  EXPECT_THAT(error.text().target, HasSubstr("10.0.0.0/8 via 9.9.9.9"));
  EXPECT_THAT(error.text().why, HasSubstr("Network is unreachable"));
  EXPECT_THAT(error.text().why, HasSubstr("gateway"));
}

// --- policy rules ---

TEST_F(RouteSocketTest, PolicyRuleIsAddedOnceListedAndRemovedOnce) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const PolicyRule rule = MarkRule(family);
    const auto before = routes_->Rules(family);
    EXPECT_THAT(before, Not(Contains(rule)));
    EXPECT_EQ(routes_->AddRule(rule), Change::kDone);
    EXPECT_EQ(routes_->AddRule(rule), Change::kAlready);
    EXPECT_THAT(routes_->Rules(family), Contains(rule).Times(1));
    EXPECT_EQ(routes_->RemoveRule(rule), Change::kDone);
    EXPECT_EQ(routes_->RemoveRule(rule), Change::kAlready);
    EXPECT_EQ(routes_->Rules(family), before);
  }
}

TEST_F(RouteSocketTest, RemovingARuleTouchesNoOther) {
  const PolicyRule ours = MarkRule(Family::kIpv4);
  PolicyRule other_mark = ours;
  other_mark.mark = 7;
  PolicyRule other_mask = ours;
  other_mask.mask = 0xfff;
  PolicyRule other_table = ours;
  other_table.table = 100;
  PolicyRule other_priority = ours;
  other_priority.priority = 99;
  const std::vector others = {other_mark, other_mask, other_table, other_priority};
  for (const PolicyRule& rule : others) EXPECT_EQ(routes_->AddRule(rule), Change::kDone) << rule;
  EXPECT_EQ(routes_->RemoveRule(ours), Change::kAlready);
  EXPECT_EQ(routes_->AddRule(ours), Change::kDone);
  EXPECT_EQ(routes_->RemoveRule(ours), Change::kDone);
  for (const PolicyRule& rule : others) {
    EXPECT_THAT(routes_->Rules(Family::kIpv4), Contains(rule)) << rule;
  }
}

TEST_F(RouteSocketTest, RuleThatAsksForMoreIsNotTakenForOurs) {
  const auto ip = [&](std::string_view verb, const std::vector<std::string>& more) {
    std::vector<std::string> argv = {"ip",     "rule", "",         "fwmark", "1337",
                                     "lookup", "133",  "priority", "1337"};
    argv[2] = verb;
    argv.insert(argv.end(), more.begin(), more.end());
    const auto done = testing_support::RunCommand(*one_, {.argv = argv});
    ASSERT_EQ(done.exit_status, 0) << done.err;
  };
  const PolicyRule ours = MarkRule(Family::kIpv4);
  for (const auto& more : std::vector<std::vector<std::string>>{{"from", "10.0.0.0/8"},
                                                                {"iif", "lo"},
                                                                {"uidrange", "5-6"},
                                                                {"suppress_prefixlength", "0"}}) {
    ip("add", more);
    EXPECT_EQ(routes_->Rules(Family::kIpv4).size(), 4U);
    EXPECT_THAT(routes_->Rules(Family::kIpv4), Not(Contains(ours))) << more.front();
    ip("delete", more);
  }
  ip("add", {});
  EXPECT_THAT(routes_->Rules(Family::kIpv4), Contains(ours).Times(1));
}

// --- privilege ---

TEST_F(RouteSocketTest, ListingsNeedNoPrivilegeAndChangesNameTheirs) {
  Join();
  CallIn(*one_, {.uid = 65534, .gid = 65534}, [] {
    RouteSocket routes;
    EXPECT_EQ(routes.Links().size(), 2U);
    EXPECT_THAT(routes.Addresses(), Not(IsEmpty()));
    EXPECT_THAT(routes.Rules(Family::kIpv4), Not(IsEmpty()));
    EXPECT_THAT(routes.Routes(Family::kIpv4), Not(IsEmpty()));
    const std::vector<std::function<void()>> changes = {
        [&] { routes.AddAddress("lo", Address("::6/128")); },
        [&] { routes.RemoveAddress("eth0", Address("192.0.2.1/24")); },
        [&] { routes.AddRoute(LocalRoute(Family::kIpv4)); },
        [&] { routes.AddRule(MarkRule(Family::kIpv6)); },
        [&] { routes.SetUp("lo", false); },
        [&] { routes.DeleteLink("eth0"); },
        [&] { routes.AddVeth({.name = "a"}, {.name = "b"}); },
    };
    for (const auto& change : changes) {
      const Error error = ErrorOf(change);
      EXPECT_EQ(error.kind(), ErrorKind::kPrivilege) << error.what();
      EXPECT_THAT(error.what(), HasSubstr("CAP_NET_ADMIN"));
    }
    return true;
  });
}

}  // namespace
}  // namespace sluice::netns
