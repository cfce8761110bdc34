// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Failures at every step: everything is as before.

#include <algorithm>
#include <functional>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apply/plan.h"
#include "base/error.h"
#include "capture/transaction.h"
#include "iptables/backend.h"
#include "netns/route_socket.h"
#include "netns/sysctl.h"
#include "nftables/backend.h"
#include "test/support/capture_cases.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

std::unique_ptr<capture::Backend> MakeBackend() {
  if (TestsNftables()) return std::make_unique<nftables::NftablesBackend>();
  return std::make_unique<iptables::XtablesBackend>();
}

class InitRollback : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  void Apply(const std::string& name) {
    const auto result = RunCase(pod(), FindCase(name));
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }

  // nat rules only count the first packet of a connection, so their counters stand still.
  void MakeCountersOfNat() {
    for (const char* ip : {"198.51.100.1", "192.0.2.2", "2001:db8::1", "fd00:2::2"}) {
      Connect(pod(), {IpAddress::Parse(ip), 80});
    }
  }

  PodNetwork network_;
};

// A foreign rule leads into a chain that is to be removed: the second family fails.
TEST_F(InitRollback, SecondFamilyFailsAndTheFirstIsPutBackWithItsCounters) {
  Apply("seed-dual-stack");
  Iptables(pod(), Family::kIpv6, "-t nat -N FOREIGN");
  Iptables(pod(), Family::kIpv6, "-t nat -A FOREIGN -j ISTIO_REDIRECT");
  MakeCountersOfNat();
  const Snapshot before = TakeSnapshot(pod(), WithCounters::kYes);
  ASSERT_THAT(before.tables.at("v4 nat"), HasSubstr("[1:60] -A ISTIO_REDIRECT"));

  const std::vector<std::string> clean_up = {"--cleanup-only"};
  for (const auto& args : {clean_up, FindCase("no-ipv6").args}) {
    const auto result = RunInit(pod(), args);
    EXPECT_EQ(result.exit_status, 1);
    EXPECT_THAT(
        result.err,
        EndsWith(
            "sluice-init: error: cannot remove our chains from the nat table (IPv6): another "
            "chain leads to one of them: chain FOREIGN, rule 1, leads to ISTIO_REDIRECT; remove "
            "that rule, or the chain that holds it (exit code 1)\n"));
    EXPECT_EQ(TakeSnapshot(pod(), WithCounters::kYes), before);
  }
  // The rule that keeps that chain does not hinder other changes.
  Apply("multi-uid");
}

// ::6 cannot be added to lo if IPv6 is disabled.
TEST_F(InitRollback, Ipv6DisabledOnLoIsAMissingFeatureAndNothingChanges) {
  RunIn(pod(), kRoot, [] { netns::WriteSysctl("ipv6/conf/lo/disable_ipv6", "1"); });
  const Snapshot fresh = TakeSnapshot(pod(), WithCounters::kYes);
  const auto refused = [&](const std::vector<std::string>& args, const Snapshot& before) {
    const auto result = RunInit(pod(), args);
    EXPECT_EQ(result.exit_status, 4) << result.err;
    EXPECT_THAT(result.err, HasSubstr("set net.ipv6.conf.lo.disable_ipv6=0, or pass --ipv6 off"));
    EXPECT_EQ(TakeSnapshot(pod(), WithCounters::kYes), before);
  };
  refused(FindCase("seed-dual-stack").args, fresh);
  refused(FindCase("tproxy-dual").args, fresh);

  Apply("no-ipv6");
  MakeCountersOfNat();
  refused(FindCase("tproxy-dual").args, TakeSnapshot(pod(), WithCounters::kYes));
}

// A foreign default route is in the place of ours.
TEST_F(InitRollback, RouteTableOfSomebodyElseIsNotTakenOver) {
  netns::RouteSocket socket(pod());
  socket.AddRoute({.destination = Cidr::Parse("0.0.0.0/0"),
                   .table = 133,
                   .next_hops = {{.device = "eth1", .gateway = IpAddress::Parse("192.0.3.1")}}});
  const Snapshot before = TakeSnapshot(pod());
  const auto result = RunCase(pod(), FindCase("tproxy-dual"));
  EXPECT_EQ(result.exit_status, 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("table 133"));
  EXPECT_THAT(result.err, HasSubstr("--istio-inbound-tproxy-route-table"));
  EXPECT_EQ(TakeSnapshot(pod()), before);
}

// A failing step among real ones.
class Failing : public capture::Step {
 public:
  std::string Name() const override { return "a failing step"; }
  bool Differs() override { return true; }
  std::vector<std::string> Have() override { return {}; }
  std::vector<std::string> Want() override { return {"this"}; }
  void Apply() override {
    throw Error(ErrorKind::kFailed,
                {.doing = "go on", .target = {}, .why = "the test says so", .help = {}});
  }
  void Undo() override {}
  std::string Summary() const override { return {}; }
};

capture::InitConfig Plan(const std::string& name) {
  capture::InitConfig config;
  config.capture = ConfigOf(FindCase(name));
  return config;
}

// From one configuration to another, or to none: fails at every table of every family, policy
// rules, routes and the address.
TEST_F(InitRollback, WhereverItFailsAllIsAsItWas) {
  struct Transition {
    std::string from;
    capture::InitConfig to;
  };
  capture::InitConfig clean_up = Plan("defaults");
  clean_up.cleanup_only = true;
  const std::vector<Transition> transitions = {
      {"defaults", Plan("tproxy-dns")},
      {"tproxy-dns", Plan("no-ipv6")},
      {"tproxy-dual", Plan("tproxy-custom-mark")},
      {"everything", clean_up},
      {"tproxy-dns", clean_up},
      {"many-excluded-cidrs", Plan("everything")},
  };
  for (const Transition& transition : transitions) {
    SCOPED_TRACE(transition.from);
    RunInit(pod(), {"--cleanup-only"});
    Apply(transition.from);
    MakeCountersOfNat();
    const Snapshot before = TakeSnapshot(pod());
    const std::string nat = NatOf(TakeSnapshot(pod(), WithCounters::kYes));
    std::size_t steps_count = 1;
    for (std::size_t position = 0; position <= steps_count; ++position) {
      RunIn(pod(), kRoot, [&] {
        netns::RouteSocket socket;
        netns::NetworkState network(socket);
        const auto backend = MakeBackend();
        apply::PlanContext context{.network = network, .backend = *backend};
        auto steps = apply::PlanSteps(transition.to, context);
        steps_count = steps.size();
        steps.insert(steps.begin() + static_cast<std::ptrdiff_t>(position),
                     std::make_unique<Failing>());
        try {
          capture::Lock lock(pod().fd());
          capture::RunTransaction(steps, lock, std::chrono::seconds(60));
          ADD_FAILURE() << "no error";
        } catch (const Error& error) {
          EXPECT_STREQ(error.what(), "cannot go on: the test says so");
        }
      });
      ASSERT_EQ(TakeSnapshot(pod()), before) << "position " << position;
      ASSERT_EQ(NatOf(TakeSnapshot(pod(), WithCounters::kYes)), nat);
    }
    EXPECT_GE(steps_count, TestsNftables() ? 4U : 9U);
  }
}

// The steps themselves: each one applied and undone alone.
TEST_F(InitRollback, EveryStepUndoesItself) {
  Apply("seed-dual-stack");
  const Snapshot before = TakeSnapshot(pod());
  const capture::InitConfig to = Plan("tproxy-dns");
  RunIn(pod(), kRoot, [&] {
    netns::RouteSocket socket;
    netns::NetworkState network(socket);
    const auto backend = MakeBackend();
    apply::PlanContext context{.network = network, .backend = *backend};
    for (const auto& step : apply::PlanSteps(to, context)) {
      if (!step->Differs()) continue;
      step->Apply();
      step->Forget();
      EXPECT_FALSE(step->Differs()) << step->Name();
      step->Undo();
      step->Forget();
      EXPECT_TRUE(step->Differs()) << step->Name();
      EXPECT_EQ(TakeSnapshot(pod()), before) << step->Name();
    }
    EXPECT_THAT(context.warnings, testing::IsEmpty());
  });
}

// The route of marked packets exists before and while packets are marked.
TEST_F(InitRollback, TheRouteOfTproxyComesBeforeTheRulesAndGoesBehindThem) {
  const auto names = [&](const capture::InitConfig& config) {
    std::vector<std::string> out;
    RunIn(pod(), kRoot, [&] {
      netns::RouteSocket socket;
      netns::NetworkState network(socket);
      const auto backend = MakeBackend();
      apply::PlanContext context{.network = network, .backend = *backend};
      for (const auto& step : apply::PlanSteps(config, context)) out.push_back(step->Name());
    });
    return out;
  };
  const auto route_first = [](const std::vector<std::string>& steps, const std::string& family) {
    const auto route = std::ranges::find(steps, "policy routing (" + family + ")");
    const std::string mangle = "mangle table (" + family + ")";
    const auto rules = std::ranges::find(steps, TestsNftables() ? "nftables" : mangle);
    EXPECT_TRUE(route != steps.end() && rules != steps.end());
    return route < rules;
  };
  for (const char* const family : {"IPv4", "IPv6"}) {
    EXPECT_TRUE(route_first(names(Plan("tproxy-dual")), family));
    EXPECT_FALSE(route_first(names(Plan("seed-dual-stack")), family));
  }
}

// The kernel only compares the number of rules: a rule that is replaced, or deleted and appended,
// after the table was read would be restored.
TEST_F(InitRollback, ARuleThatIsReplacedMeanwhileIsNotLost) {
  const std::string iptables = "iptables-legacy -t nat ";
  const std::string replace = iptables + "-R OUTPUT 1 -p tcp --dport 82 -j RETURN";
  const std::string other = iptables + "-D OUTPUT -p tcp --dport 81 -j RETURN && " + iptables +
                            "-A OUTPUT -p tcp --dport 82 -j RETURN";
  for (const std::string& change : {replace, other}) {
    for (const char* const read : {"1 ", "2 "}) {
      SCOPED_TRACE(read + change);
      RunInit(pod(), {"--cleanup-only"});
      Iptables(pod(), Family::kIpv4, "-t nat -F OUTPUT");
      Iptables(pod(), Family::kIpv4, "-t nat -A OUTPUT -p tcp --dport 81 -j RETURN");
      Command command =
          WithPreload(CaseCommand(FindCase("seed-manifest")), "libsluice_change_after_read.so");
      command.environment.push_back("XTABLES_LOCKFILE=/nonexistent");
      command.environment.push_back("SLUICE_AFTER_READ=" + (read + change));
      const auto result = RunCommand(pod(), command);
      ASSERT_EQ(result.exit_status, 0) << result.err;
      const std::string nat = TakeSnapshot(pod()).tables.at("v4 nat");
      EXPECT_THAT(nat, HasSubstr("--dport 82 -j RETURN"));
      EXPECT_THAT(nat, testing::Not(HasSubstr("--dport 81 -j RETURN")));
      EXPECT_THAT(nat, HasSubstr("-A OUTPUT -j ISTIO_OUTPUT"));
    }
  }
}

}  // namespace
}  // namespace sluice::testing_support
