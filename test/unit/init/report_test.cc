// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/report.h"

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::init {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::Not;

Report Good() {
  Report report;
  report.action = "apply";
  report.network_namespace = "net:[1]";
  report.steps = {{"nat table (IPv4)", true, "4 chains, 17 rules"},
                  {"nat table (IPv6)", false, "no Sluice rules"}};
  report.warnings = {"mind the \"gap\""};
  report.notes = {"no log"};
  report.duration = std::chrono::microseconds(1500);
  return report;
}

constexpr const char* kGoodJson = R"json({
  "action": "apply", "result": "ok", "exit_code": 0, "changed": true,
  "network_namespace": "net:[1]",
  "steps": [
    {"name": "nat table (IPv4)", "changed": true, "summary": "4 chains, 17 rules"},
    {"name": "nat table (IPv6)", "changed": false, "summary": "no Sluice rules"}],
  "checks": [], "warnings": ["mind the \"gap\""], "notes": ["no log"],
  "duration_ms": 1.5
})json";

TEST(Report, HasTheLinesOfALevelAndOfWhatIsWorse) {
  const std::string warning = "sluice-init: warning: mind the \"gap\"\n";
  const std::string info = ToText(Good(), capture::LogLevel::kInfo);
  EXPECT_TRUE(info.starts_with(warning + "sluice-init: info: no log\n")) << info;
  EXPECT_EQ(ToText(Good(), capture::LogLevel::kWarning), warning);
  EXPECT_EQ(ToText(Good(), capture::LogLevel::kError), "");
  Report bad = Good();
  bad.error = Error(ErrorKind::kFailed, {.doing = "d", .target = {}, .why = "w", .help = {}});
  EXPECT_EQ(ToText(bad, capture::LogLevel::kError),
            "sluice-init: error: cannot d: w (exit code 1)\n");
  EXPECT_EQ(ToText(bad, capture::LogLevel::kNone), "");
}

TEST(Report, SaysOfEachStepWhatBecameOfIt) {
  Report report = Good();
  report.steps.push_back({"address ::6/128 on lo", true, ""});
  report.steps.push_back({"policy routing (IPv4)", true, "no Sluice rules"});
  const std::string text = ToText(report, capture::LogLevel::kInfo);
  EXPECT_THAT(text, HasSubstr("nat table (IPv4): written: 4 chains, 17 rules\n"));
  EXPECT_THAT(text, HasSubstr("address ::6/128 on lo: added\n"));
  EXPECT_THAT(text, HasSubstr("policy routing (IPv4): removed\n"));
  EXPECT_THAT(text, Not(HasSubstr("nat table (IPv6)"))) << "nothing was there, or is wanted";
  report.steps = {{"address ::6/128 on lo", false, ""}};
  EXPECT_THAT(ToText(report, capture::LogLevel::kInfo), HasSubstr("on lo: in place\n"));
}

TEST(Report, IsOneLineOfJson) {
  const std::string text = ToJson(Good());
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_EQ(json::parse(text), json::parse(kGoodJson));
}

constexpr const char* kLocked =
    R"({"kind": "locked", "doing": "lock", "target": "/x", "why": "held", "help": "wait"})";

TEST(Report, NamesThePartsOfAnError) {
  Report report = Good();
  report.error =
      Error(ErrorKind::kLocked, {.doing = "lock", .target = "/x", .why = "held", .help = "wait"});
  EXPECT_EQ(report.exit_code(), 5);
  const json::object out = json::parse(ToJson(report)).as_object();
  EXPECT_EQ(out.at("result"), "error");
  EXPECT_EQ(out.at("exit_code"), 5);
  EXPECT_EQ(out.at("changed"), false);
  EXPECT_EQ(out.at("error"), json::parse(kLocked));
}

TEST(Report, DriftIsAnExitCodeOfItsOwn) {
  Report report;
  report.action = "diff";
  EXPECT_EQ(report.exit_code(), 0);
  report.drift = true;
  EXPECT_EQ(report.exit_code(), 10);
  EXPECT_EQ(json::parse(ToJson(report)).at("drift"), true);
}

TEST(Report, HasChangedWhenAStepHas) {
  EXPECT_TRUE(Good().changed());
  Report report = Good();
  report.steps[0].changed = false;
  EXPECT_FALSE(report.changed());
}

}  // namespace
}  // namespace sluice::init
