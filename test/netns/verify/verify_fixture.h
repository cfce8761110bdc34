// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "netns/route_socket.h"
#include "test/support/command.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {

using Words = std::vector<std::string>;

// The exit status of a verification that fails.
inline constexpr int kInvalid = 126;

// What validation could leave behind.
struct Traces {
  std::vector<netns::Link> links;
  std::vector<netns::Route> routes;
  std::vector<netns::AddressEntry> addresses;
  std::string neighbours;
  friend bool operator==(const Traces&, const Traces&) = default;
};

std::ostream& operator<<(std::ostream& out, const Traces& traces);

// A pod with a network, and runs of sluice-init in it.
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

  Traces Look() const;

  std::string Saved() const {
    return RulesOf(pod(), Family::kIpv4) + RulesOf(pod(), Family::kIpv6);
  }

  bool LinkIsThere() const { return netns::RouteSocket(pod()).FindLink("slprobe0").has_value(); }

  std::optional<PodNetwork> network_;
};

// "IPv4 inbound" -> {status, detail}, from a run with --log-format json.
using Checks = std::map<std::string, std::pair<std::string, std::string>>;
Checks ChecksOf(const CommandResult& result);
// "path: detail" of those with that status.
std::vector<std::string> PathsWith(const Checks& checks, std::string_view status);

// Words of command lines: a usual configuration, and commands that take one.
Words Usual(std::initializer_list<std::string> more = {});
Words Verify(Words words, std::initializer_list<std::string> more = {});
Words Diff(Words words);

}  // namespace sluice::testing_support
