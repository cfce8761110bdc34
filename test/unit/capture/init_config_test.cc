// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// From settings to validated values.

#include "capture/settings/init_config.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "netns/namespace.h"
#include "test/support/bad_inputs.h"

namespace sluice::capture {
namespace {

using capture::InterceptionMode;
using testing::ElementsAre;
using testing::IsEmpty;
using testing_support::BadInput;

InitConfig Read(const std::vector<std::string>& arguments,
                const std::vector<std::string>& environment = {}) {
  return ToInitConfig(ParseCommandLine(arguments, [&](const char* name) -> const char* {
    const std::string start = std::string(name) + "=";
    for (const std::string& variable : environment) {
      if (variable.starts_with(start)) return variable.c_str() + start.size();
    }
    return nullptr;
  }));
}

TEST(InitConfig, DefaultsAreThoseOfTheReferenceTool) {
  const InitConfig config = Read({});
  const capture::CaptureConfig& capture = config.capture;
  EXPECT_EQ(capture.outbound_port, 15001);
  EXPECT_EQ(capture.inbound_port, 15006);
  EXPECT_EQ(capture.tunnel_port, 15008);
  EXPECT_THAT(capture.proxy_uids, ElementsAre(1337U));
  EXPECT_THAT(capture.proxy_gids, ElementsAre(1337U));
  EXPECT_EQ(capture.mode, InterceptionMode::kRedirect);
  EXPECT_TRUE(capture.inbound_ports.empty());
  EXPECT_FALSE(capture.outbound_ranges.all);
  EXPECT_EQ(capture.owner_groups, std::nullopt);
  EXPECT_EQ(config.ipv6, Ipv6Mode::kAuto);
  EXPECT_EQ(config.lock_wait, std::chrono::seconds(30));
  EXPECT_EQ(config.probe_timeout, std::chrono::seconds(5));
  EXPECT_EQ(config.warnings.size(), 1U);  // that it captures nothing
}

TEST(InitConfig, UsersAndGroupsHaveNamesOrNumbers) {
  const capture::CaptureConfig capture =
      Read({"-u", "root, 0x539", "-g", "root,5", "--exclude-uids", "nobody,7", "--exclude-gids",
            "nogroup"})
          .capture;
  EXPECT_THAT(capture.proxy_uids, ElementsAre(0U, 1337U));
  EXPECT_THAT(capture.proxy_gids, ElementsAre(0U, 5U));
  EXPECT_THAT(capture.exclude_uids, ElementsAre(65534U, 7U));
  EXPECT_THAT(capture.exclude_gids, ElementsAre(65534U));
}

TEST(InitConfig, NumbersMayBeHexadecimalAndWaitsHaveUnits) {
  const InitConfig config = Read({"-t", "0x4d", "-r", "0x85", "--wait", "1500ms", "-p", "0x3e81"});
  EXPECT_EQ(config.capture.tproxy_mark, 77U);
  EXPECT_EQ(config.capture.tproxy_route_table, 133U);
  EXPECT_EQ(config.capture.outbound_port, 16001);
  EXPECT_EQ(config.lock_wait, std::chrono::milliseconds(1500));
  EXPECT_EQ(Read({"--probe-timeout", " 1.5s "}).probe_timeout, std::chrono::milliseconds(1500));
}

TEST(InitConfig, BackendsByAllTheirNames) {
  const auto backend = [](const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment = {}) {
    const InitConfig config = Read(arguments, environment);
    return std::pair(config.backend, config.backend_origin);
  };
  using enum BackendChoice;
  EXPECT_EQ(backend({}), std::pair(kAuto, std::string()));
  EXPECT_EQ(backend({"--backend", "iptables"}), std::pair(kIptables, std::string("--backend")));
  EXPECT_EQ(backend({"--native-nftables"}), std::pair(kNftables, std::string("--native-nftables")));
  EXPECT_EQ(backend({"--native-nftables=false"}).first, kAuto);
  EXPECT_EQ(backend({}, {"NATIVE_NFTABLES=true"}).first, kNftables);
  EXPECT_EQ(backend({}, {"SLUICE_BACKEND=nftables"}).first, kNftables);
  EXPECT_EQ(backend({"--force-iptables-binary", "nft"}).first, kNftables);
  EXPECT_EQ(backend({"--force-iptables-binary", "legacy"}).first, kIptables);
  EXPECT_EQ(backend({"--force-legacy-iptables"}).first, kIptables);
  EXPECT_EQ(backend({"--native-nftables", "--backend", "iptables"}).first, kIptables);
  EXPECT_EQ(backend({"--native-nftables", "--force-iptables-binary", "legacy"}).first, kNftables);
}

TEST(InitConfig, WarnsOfWhatCapturesNothing) {
  const std::string nothing =
      "no connection is captured: neither --istio-inbound-ports (-b) nor --istio-service-cidr (-i) "
      "nor --istio-outbound-ports (-q) names any";
  EXPECT_THAT(Read({}).warnings, ElementsAre(nothing));
  EXPECT_THAT(Read({"-i", "", "-b", ""}).warnings, ElementsAre(nothing));
  EXPECT_THAT(Read({"diff"}).warnings, ElementsAre(nothing));
  for (const char* const flag : {"-i", "-b"}) EXPECT_THAT(Read({flag, "*"}).warnings, IsEmpty());
  EXPECT_THAT(Read({"-q", "80"}).warnings, IsEmpty());
  EXPECT_THAT(Read({"--cleanup-only"}).warnings, IsEmpty());
  EXPECT_THAT(Read({"show"}).warnings, IsEmpty());
}

TEST(InitConfig, WarnsOfRangesThatAreWhollyExcluded) {
  EXPECT_THAT(Read({"-i", "10.1.0.0/16,192.0.2.0/24", "-x", "10.0.0.0/9,10.128.0.0/9"}).warnings,
              ElementsAre("10.1.0.0/16 of --istio-service-cidr is not captured: "
                          "--istio-service-exclude-cidr excludes all of it"));
  EXPECT_THAT(Read({"-i", "*", "-x", "0.0.0.0/1,128.0.0.0/1,::/0"}).warnings,
              ElementsAre("0.0.0.0/0, ::/0 of --istio-service-cidr are not captured: "
                          "--istio-service-exclude-cidr excludes all of them"));
  EXPECT_THAT(
      Read({"-i", "10.0.0.0/32,10.0.0.2/32,10.0.0.4/32,10.0.0.6/32", "-x", "10.0.0.0/8"}).warnings,
      ElementsAre(testing::StartsWith("10.0.0.0/32, 10.0.0.2/32, 10.0.0.4/32 and 1 more")));
  EXPECT_THAT(Read({"-i", "10.0.0.0/8", "-x", "10.0.0.0/9"}).warnings, IsEmpty());
}

TEST(InitConfig, WarnsOfWhatExceptionsLeaveNothingOf) {
  EXPECT_THAT(Read({"-q", "80,443,8000-8100", "-o", "443,8000-9000"}).warnings,
              ElementsAre("443, 8000-8100 of --istio-outbound-ports are not captured: "
                          "--istio-local-outbound-ports-exclude excludes all of them"));
  EXPECT_THAT(Read({"-i", "*", "-o", "1-1023,1024-65535"}).warnings,
              ElementsAre("no outbound connection is captured: "
                          "--istio-local-outbound-ports-exclude excludes every port"));
  EXPECT_THAT(Read({"-b", "*", "-d", "1-65535"}).warnings,
              ElementsAre("no inbound connection is captured: --istio-local-exclude-ports excludes "
                          "every port"));
  EXPECT_THAT(Read({"-b", "80", "--istio-inbound-exclude-cidr", "10.0.0.0/8,::/0"}).warnings,
              ElementsAre("no inbound connection from ::/0 is captured: "
                          "--istio-inbound-exclude-cidr excludes it"));
  EXPECT_THAT(Read({"-q", "80,443", "-o", "81", "-i", "*", "-b", "*", "-d", "1-65534"}).warnings,
              IsEmpty());
}

TEST(InitConfig, WarnsOfRunsThatDoNothing) {
  EXPECT_THAT(Read({"-b", "80", "--skip-rule-apply"}).warnings,
              ElementsAre("nothing is done: --skip-rule-apply leaves the rules as they are, and "
                          "--run-validation is not given"));
  EXPECT_THAT(Read({"--cleanup-only", "--skip-rule-apply"}).warnings,
              ElementsAre("nothing is removed: --skip-rule-apply leaves the rules as they are"));
  EXPECT_THAT(Read({"--cleanup-only", "--run-validation"}).warnings,
              ElementsAre("--run-validation has no effect with --cleanup-only"));
  EXPECT_THAT(Read({"-b", "80", "--skip-rule-apply", "--run-validation"}).warnings, IsEmpty());
}

TEST(InitConfig, LevelsOfTheReferenceToolsLogAreMapped) {
  const auto level = [](const std::string& text) {
    return Read({"--log_output_level=" + text}).log_level;
  };
  EXPECT_EQ(Read({}).log_level, LogLevel::kInfo);
  EXPECT_EQ(level("default:debug"), LogLevel::kInfo);
  EXPECT_EQ(level("info"), LogLevel::kInfo);
  EXPECT_EQ(level("default:warn,ads:debug"), LogLevel::kWarning);
  EXPECT_EQ(level("all:error"), LogLevel::kError);
  EXPECT_EQ(level("default:fatal,all:debug"), LogLevel::kError);
  EXPECT_EQ(level("ads:none"), LogLevel::kInfo);
  EXPECT_EQ(level("none"), LogLevel::kNone);
  EXPECT_EQ(level(""), LogLevel::kInfo);
  EXPECT_EQ(Read({"--log_as_json"}).log_format, LogFormat::kJson);
  EXPECT_TRUE(Read({"--clean"}).cleanup_only);
}

TEST(InitConfig, ListsTolerateSpacesTrailingCommasAndDuplicates) {
  const auto capture = Read({"-b", " 80, 8000-8010 ,8005,81,80,", "-i",
                             "10.0.0.0/9, 10.128.0.0/9,10.1.2.3 ,", "-c", "eth1, eth1,"})
                           .capture;
  EXPECT_THAT(capture.inbound_ports.ports, ElementsAre(PortRange{80, 81}, PortRange{8000, 8010}));
  EXPECT_THAT(capture.outbound_ranges.ranges, ElementsAre(Cidr::Parse("10.0.0.0/8")));
  EXPECT_THAT(capture.exclude_interfaces, ElementsAre("eth1"));
}

TEST(InitConfig, RangeWithoutMaskIsAHost) {
  EXPECT_THAT(Read({"-x", "10.1.2.3,fd00::1"}).capture.outbound_exclude_ranges,
              ElementsAre(Cidr::Parse("10.1.2.3/32"), Cidr::Parse("fd00::1/128")));
}

TEST(InitConfig, StarMayHaveSpaces) {
  EXPECT_TRUE(Read({"-b", " * "}).capture.inbound_ports.all);
  EXPECT_TRUE(Read({"-i", "*"}).capture.outbound_ranges.all);
}

TEST(InitConfig, GidsAreTheUidsUnlessGiven) {
  EXPECT_THAT(Read({"-u", "3,4"}).capture.proxy_gids, ElementsAre(3U, 4U));
  EXPECT_THAT(Read({"-u", "3,4", "-g", "5"}).capture.proxy_gids, ElementsAre(5U));
}

// A uid has 32 bits, so values above 65535 are valid.
TEST(InitConfig, TakesTheLargestUid) {
  EXPECT_THAT(Read({"-u", "4294967294"}).capture.proxy_uids, ElementsAre(4294967294U));
}

TEST(InitConfig, UserGivesTheUid) {
  EXPECT_THAT(Read({}, {"ENVOY_USER=root"}).capture.proxy_uids, ElementsAre(0U));
  EXPECT_THAT(Read({}, {"ENVOY_USER=no-such-user"}).capture.proxy_uids, ElementsAre(1337U));
  EXPECT_THAT(Read({"-u", "5"}, {"ENVOY_USER=root"}).capture.proxy_uids, ElementsAre(5U));
}

TEST(InitConfig, OwnerGroupsAreNamesOrNumbers) {
  EXPECT_THAT(*Read({"--istio-outbound-owner-groups", "root,202"}).capture.owner_groups,
              ElementsAre(0U, 202U));
  EXPECT_THAT(*Read({"--istio-outbound-owner-groups="}).capture.owner_groups, IsEmpty());
  EXPECT_THAT(Read({}, {"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=888"}).capture.owner_groups_exclude,
              ElementsAre(888U));
}

TEST(InitConfig, ModeIsRedirectUnlessTproxy) {
  EXPECT_EQ(Read({"-m", ""}).capture.mode, InterceptionMode::kRedirect);
  EXPECT_EQ(Read({"-m", "TPROXY"}).capture.mode, InterceptionMode::kTproxy);
}

TEST(InitConfig, DualStackIsIpv6On) {
  EXPECT_EQ(Read({"--dual-stack"}).ipv6, Ipv6Mode::kOn);
  EXPECT_EQ(Read({"--ipv6", "off"}).ipv6, Ipv6Mode::kOff);
}

TEST(InitConfig, WarnsOfWhatHasNoEffect) {
  EXPECT_THAT(Read({"-b", "80", "-d", "81"}).warnings,
              ElementsAre("--istio-local-exclude-ports has no effect: not all inbound ports are "
                          "captured"));
  EXPECT_THAT(Read({"-b", "80", "--capture-all-dns"}).warnings,
              ElementsAre("--capture-all-dns has no effect without --redirect-dns"));
  EXPECT_THAT(Read({"-b", "80", "--rollback-on-failed-validation"}).warnings,
              ElementsAre("--rollback-on-failed-validation has no effect without "
                          "--run-validation"));
}

class BadInputs : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputs, AreRefusedWithTheseWords) {
  const auto& [args, environment, message] = GetParam();
  try {
    const InitConfig config = Read(args, environment);
    // Not refused on the command line, but before anything else happens.
    netns::Namespace::Open(config.network_namespace);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), message);
    EXPECT_EQ(error.exit_code(), 2);
  }
}

INSTANTIATE_TEST_SUITE_P(, BadInputs, testing::ValuesIn(testing_support::BadInputs()));

TEST(BadInputsTable, HasThirtyTwoAtLeast) { EXPECT_GE(testing_support::BadInputs().size(), 32U); }

}  // namespace
}  // namespace sluice::capture
