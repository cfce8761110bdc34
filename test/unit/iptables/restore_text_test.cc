// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/restore_text.h"

#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "capture/capture_rules.h"
#include "iptables/compile.h"
#include "test/support/capture_cases.h"

namespace sluice::iptables {
namespace {

// A text as the restore program of one family reads it: by table, the chains that it declares and
// the rules of each chain in order. -4 and -6 are handled as in iptables-restore(8).
struct Restored {
  std::map<std::string, std::map<std::string, std::vector<std::string>>> tables;
  friend bool operator==(const Restored&, const Restored&) = default;
};

Restored Restore(const std::string& text, Family family) {
  const std::string other = family == Family::kIpv4 ? "-6 " : "-4 ";
  Restored out;
  std::string table;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(other)) continue;
    if (line.starts_with("-4 ") || line.starts_with("-6 ")) line = line.substr(3);
    if (line.starts_with('*')) {
      EXPECT_TRUE(table.empty()) << "no COMMIT before " << line;
      table = line.substr(1);
      EXPECT_FALSE(out.tables.contains(table)) << table << " is there twice";
      out.tables[table];
    } else if (line == "COMMIT") {
      table.clear();
    } else if (line.starts_with(':')) {
      out.tables[table][line.substr(1, line.find(' ') - 1)];
    } else if (line.starts_with("-N ")) {
      EXPECT_TRUE(out.tables[table].emplace(line.substr(3), 0).second) << line;
    } else {
      EXPECT_TRUE(line.starts_with("-A ")) << line;
      out.tables[table][line.substr(3, line.find(' ', 3) - 3)].push_back(line);
    }
  }
  EXPECT_TRUE(table.empty()) << "no COMMIT at the end";
  return out;
}

// Tables that only the other family has are still named.
Restored WithoutEmptyTables(Restored restored) {
  std::erase_if(restored.tables, [](const auto& table) { return table.second.empty(); });
  return restored;
}

class BothFamilies : public testing::TestWithParam<testing_support::CaptureCase> {};

TEST_P(BothFamilies, OneTextSaysWhatTheTwoSay) {
  const capture::RuleSet rules = capture::BuildRules(ConfigOf(GetParam()));
  const std::string both = RestoreText(rules);
  for (const Family family : capture::kFamilies) {
    if (rules.family(family).empty()) continue;
    EXPECT_EQ(WithoutEmptyTables(Restore(both, family)),
              WithoutEmptyTables(Restore(RestoreText(rules.family(family)), family)))
        << both;
  }
}

INSTANTIATE_TEST_SUITE_P(, BothFamilies, testing::ValuesIn(testing_support::CaptureCases()),
                         [](const auto& info) {
                           return testing_support::TestName(info.param.name);
                         });

TEST(RestoreText, SaysNothingOfEmptyTables) {
  EXPECT_EQ(RestoreText(capture::FamilyRules{
                .tables = {{.table = capture::Table::kRaw}, {.table = capture::Table::kNat}}}),
            "");
}

TEST(RestoreText, DeclaresChainsBeforeRules) {
  const capture::FamilyRules rules{
      .tables = {
          {.table = capture::Table::kNat,
           .jumps = {{capture::Hook::kOutput, {.target = capture::Jump{"ISTIO_A"}}}},
           .chains = {{"ISTIO_A", {{.target = capture::Goto{"ISTIO_B"}}}}, {"ISTIO_B", {}}}}}};
  EXPECT_EQ(RestoreText(rules),
            "*nat\n:ISTIO_A - [0:0]\n:ISTIO_B - [0:0]\n-A OUTPUT -j ISTIO_A\n"
            "-A ISTIO_A -g ISTIO_B\nCOMMIT\n");
}

}  // namespace
}  // namespace sluice::iptables
