// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// `sluice-init show`: which Sluice rules are installed, with counters, whatever configuration
// created them.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

namespace json = boost::json;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class InitShow : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  std::string Show(std::vector<std::string> more = {}) {
    more.insert(more.begin(), "show");
    const auto result = RunInit(pod(), std::move(more));
    EXPECT_EQ(result.exit_status, 0) << result.err;
    return result.out;
  }

  PodNetwork network_;
};

TEST_F(InitShow, NothingIsShownOfOthers) {
  const std::string tables = TableNames(pod());
  EXPECT_EQ(Show(), "# no Sluice rules are installed\n");
  EXPECT_EQ(TableNames(pod()), tables) << "looking made a table";
  Iptables(pod(), Family::kIpv4, "-t nat -N FOREIGN");
  EXPECT_EQ(Show(), "# no Sluice rules are installed\n");
}

TEST_F(InitShow, RulesRoutesAndAddressesOfAnyConfiguration) {
  ASSERT_EQ(RunInit(pod(), {"-m", "TPROXY", "-i", "*", "-b", "*", "--dual-stack"}).exit_status, 0);
  const std::string out = Show();
  EXPECT_THAT(out, HasSubstr("# mangle table (IPv6)\n"));
  EXPECT_THAT(out, HasSubstr("] -A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN\n"));
  EXPECT_THAT(out, HasSubstr("fwmark 0x539/0x7ff lookup 133"));
  EXPECT_THAT(out, HasSubstr("# address ::6/128 on lo\n"));
  ASSERT_EQ(RunInit(pod(), {"--cleanup-only"}).exit_status, 0);
  EXPECT_EQ(Show(), "# no Sluice rules are installed\n");
}

// Installed Sluice rules, and a foreign rule that leads to a foreign chain.
TEST_F(InitShow, GraphsOfTheRulesOfEverybody) {
  Iptables(pod(), Family::kIpv4, "-t nat -N OTHERS");
  Iptables(pod(), Family::kIpv4, "-t nat -A OUTPUT -p tcp --dport 4433 -j OTHERS");
  Iptables(pod(), Family::kIpv4, "-t nat -A OTHERS -m comment --comment \"<u>x -j RETURN");
  for (const std::string backend : {"iptables", "nftables"}) {
    SCOPED_TRACE(backend);
    ASSERT_EQ(RunInit(pod(), {"--backend", backend, "-i", "*", "-b", "*"}).exit_status, 0);
    const auto graph = [&](const std::string& format) {
      const auto result = RunInit(pod(), {"graph", "--output", format});
      EXPECT_EQ(result.exit_status, 0) << result.err;
      return result.out;
    };
    const std::string mermaid = graph("mermaid");
    EXPECT_TRUE(mermaid.starts_with("flowchart LR\n")) << mermaid;
    EXPECT_THAT(mermaid, HasSubstr("ISTIO_OUTPUT</b>"));
    EXPECT_THAT(mermaid, HasSubstr("--dport 4433"));
    EXPECT_THAT(mermaid, ContainsRegex("nat OTHERS</b>.*:::foreign"));
    EXPECT_THAT(mermaid, Not(HasSubstr("<u>"))) << "a comment of others is not escaped";
    EXPECT_THAT(graph("svg"), HasSubstr("ISTIO_OUTPUT"));
    EXPECT_TRUE(graph("dot").starts_with("digraph"));
    EXPECT_EQ(RunInit(pod(), {"graph", "--output", "json"}).exit_status, 2);
  }
}

TEST_F(InitShow, AGraphGoesToAFileWholeOrNotAtAll) {
  namespace fs = std::filesystem;
  ASSERT_EQ(RunInit(pod(), {"-i", "*", "-b", "*"}).exit_status, 0);
  const fs::path directory = fs::path(testing::TempDir()) / ("graph" + std::to_string(getpid()));
  fs::create_directory(directory);
  const std::string file = directory / "rules.svg";
  const auto draw = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"graph", "--output", "svg"});
    return RunInit(pod(), more);
  };
  const auto first = draw({"--file", file});
  EXPECT_EQ(first.exit_status, 0) << first.err;
  EXPECT_EQ(first.out, "");
  EXPECT_THAT(first.err, HasSubstr("written to " + file));
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  EXPECT_EQ(text.str(), draw({}).out);
  EXPECT_EQ(fs::status(file).permissions() & fs::perms::others_read, fs::perms::others_read)
      << "the proxy is another user";

  const std::string link = directory / "link";
  fs::create_symlink(file, link);
  const auto refused = draw({"--file", link});
  EXPECT_EQ(refused.exit_status, 2);
  EXPECT_THAT(refused.err, HasSubstr("no regular file"));
  EXPECT_EQ(std::distance(fs::directory_iterator(directory), {}), 2) << "no temporary file is left";

  const auto nowhere = draw({"--file", directory / "none/rules.svg"});
  EXPECT_EQ(nowhere.exit_status, 1);
  EXPECT_THAT(nowhere.err, HasSubstr("No such file or directory"));
  fs::remove_all(directory);
  for (const char* const bad : {"0", "soon", "25h"}) {
    const auto usage = draw({"--file", file, "--every", bad});
    EXPECT_EQ(usage.exit_status, 2);
    EXPECT_THAT(usage.err, AllOf(HasSubstr("--every"), HasSubstr(bad)));
  }
  EXPECT_THAT(draw({"--every", "5s"}).err, HasSubstr("expected a --file as well"));
}

TEST_F(InitShow, ARuleThatWeCannotHaveWrittenIsShownAsForeign) {
  ASSERT_EQ(RunInit(pod(), {"-i", "*", "-b", "*"}).exit_status, 0);
  if (TestsNftables()) {
    Nft(pod(), "add rule ip sluice nat/ISTIO_OUTPUT ip protocol icmp accept");
  } else {
    Iptables(pod(), Family::kIpv4, "-t nat -A ISTIO_OUTPUT -p icmp -j ACCEPT");
  }
  EXPECT_THAT(Show(), HasSubstr("-A ISTIO_OUTPUT (a foreign rule: ACCEPT)\n"));
}

TEST_F(InitShow, JsonCountsPackets) {
  ASSERT_EQ(RunInit(pod(), {"-i", "*", "-b", "*"}).exit_status, 0);
  const auto redirected = [this] {
    const json::value shown = json::parse(Show({"--output", "json"}));
    for (const json::value& table : shown.at("tables").as_array()) {
      if (table.at("family") != "IPv4" || table.at("table") != "nat") continue;
      for (const json::value& chain : table.at("chains").as_array()) {
        if (chain.at("name") != "ISTIO_REDIRECT") continue;
        return chain.at("rules").at(0).at("packets").to_number<int>();
      }
    }
    ADD_FAILURE() << "no ISTIO_REDIRECT in the IPv4 nat table";
    return -1;
  };
  EXPECT_EQ(redirected(), 0);
  // Nobody listens there: the packet is redirected, and refused.
  EXPECT_EQ(Connect(pod(), {IpAddress::Parse("198.51.100.1"), 80}, {.who = kApplication}),
            "refused");
  EXPECT_EQ(redirected(), 1);
}

}  // namespace
}  // namespace sluice::testing_support
