// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The program built with -DSLUICE_IPTABLES=OFF: sluice-init without x_tables.

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;
using testing::Not;

class InitWithoutIptables : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  static Command Program(std::vector<std::string> arguments) {
    Command command = InitCommand(std::move(arguments));
    command.argv[0] = ProgramPath("sluice-init-nft");
    return command;
  }
  CommandResult Run(std::vector<std::string> arguments) {
    return RunCommand(pod(), Program(std::move(arguments)));
  }

  PodNetwork network_;
};

TEST_F(InitWithoutIptables, CapturesWithNftables) {
  const Snapshot fresh = TakeSnapshot(pod());
  const Listeners agent(pod(), {{.port = 15001, .answer = "out15001"}});
  const auto applied = Run({"-i", "*", "-b", "*"});
  EXPECT_EQ(applied.exit_status, 0) << applied.err;
  EXPECT_THAT(applied.err, HasSubstr("backend: nftables (iptables is not in this build)"));
  EXPECT_EQ(Connect(pod(), {IpAddress::Parse("198.51.100.1"), 80}, {.who = kApplication}),
            "out15001");
  EXPECT_THAT(Run({"-i", "*", "-b", "*"}).err, HasSubstr("nothing written"));
  EXPECT_THAT(Run({"show"}).out, testing::StartsWith("# backend nftables: its rules are there\n"));
  EXPECT_THAT(Run({"explain", "--to", "198.51.100.1:80"}).out, HasSubstr("outbound, port 15001\n"));
  EXPECT_EQ(Run({"--cleanup-only"}).exit_status, 0);
  EXPECT_EQ(TakeSnapshot(pod()), fresh);
}

TEST_F(InitWithoutIptables, RefusesTheOtherBackend) {
  const Snapshot fresh = TakeSnapshot(pod());
  for (const std::vector<std::string>& asks :
       {std::vector<std::string>{"--backend", "iptables"}, {"--force-legacy-iptables"}}) {
    const auto refused = Run(asks);
    EXPECT_EQ(refused.exit_status, 2);
    EXPECT_THAT(refused.err, HasSubstr("use the backend iptables, which " + asks[0] +
                                       " asks for: iptables is not in this build"));
  }
  EXPECT_EQ(TakeSnapshot(pod()), fresh);
  const auto effective = [this](const std::string& backend) {
    const auto printed = boost::json::parse(Run({"--backend", backend, "--print-config"}).out);
    return std::string(printed.at("backend").at("effective").as_string());
  };
  EXPECT_EQ(effective("auto"), "nftables: iptables is not in this build");
  EXPECT_EQ(effective("iptables"), "iptables, which is not in this build: refused");
  EXPECT_EQ(effective("nftables"), "nftables");

  Command command = WithPreload(Program({"-i", "*"}), "libsluice_without_backend.so");
  command.environment.push_back("SLUICE_WITHOUT=nf_tables");
  const auto neither = RunCommand(pod(), command);
  EXPECT_EQ(neither.exit_status, 4) << neither.err;
  EXPECT_THAT(neither.err, HasSubstr("the kernel has no nf_tables"));
  EXPECT_THAT(neither.err, HasSubstr("; and iptables is not in this build"));
}

// x_tables rules may decide about a connection: if there are any, it reports that it cannot see
// them.
TEST_F(InitWithoutIptables, SaysWhatItDoesNotSee) {
  const std::string unseen = "rules of x_tables cannot be seen: iptables is not in this build";
  EXPECT_THAT(Run({"show"}).out, Not(HasSubstr(unseen))) << "there is no table";
  const auto doctor = Run({"doctor"});
  EXPECT_THAT(doctor.out, HasSubstr("iptables is not in this build of sluice-init"));
  EXPECT_THAT(doctor.out, Not(HasSubstr("rules of iptables cannot be seen")));

  Iptables(pod(), Family::kIpv4, "-t nat -A OUTPUT -p tcp --dport 81 -j REDIRECT --to-ports 82");
  EXPECT_EQ(Run({"show"}).out, "# no Sluice rules are installed\n# " + unseen + "\n");
  const auto json = boost::json::parse(Run({"show", "--output", "json"}).out);
  EXPECT_EQ(json.at("unseen"), boost::json::array({unseen}));
  EXPECT_THAT(Run({"doctor"}).out,
              HasSubstr("rules of iptables cannot be seen: iptables is not in this build"));
  const std::string said = Run({"explain", "--to", "198.51.100.1:80"}).out;
  EXPECT_THAT(said, HasSubstr(": unknown\n"));
  EXPECT_THAT(said, HasSubstr("iptables nat OUTPUT: rules that could not be read"));
  EXPECT_THAT(said, HasSubstr("rules of iptables are not read: iptables is not in this build"));
  const auto removed = Run({"--cleanup-only"});
  EXPECT_EQ(removed.exit_status, 0) << removed.err;
  EXPECT_THAT(removed.err, HasSubstr("warning: " + unseen));
}

}  // namespace
}  // namespace sluice::testing_support
