// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// docs/rules/*.md explain each named configuration and list its rules. This test writes them: after
// an intended change, run it with SLUICE_UPDATE_GOLDENS=1.

#include "test/unit/docs/rule_pages.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "capture/capture_rules.h"
#include "iptables/compile.h"
#include "iptables/restore_text.h"
#include "nftables/program/compile.h"
#include "nftables/text.h"
#include "test/support/capture_cases.h"

namespace sluice::docs {
namespace {

using testing_support::CaptureCase;
using testing_support::CaptureCases;

constexpr std::string_view kNotice =
    "<!-- Written by test/unit/docs/rule_pages_test.cc; SLUICE_UPDATE_GOLDENS=1 writes it anew. "
    "-->\n\n";

// Longer arguments (lists of many ranges) are cut.
constexpr std::size_t kMaxArgument = 120;

std::string Quoted(const std::string& argument) {
  constexpr std::string_view kSafe =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,=+-";
  if (argument.empty()) return "\"\"";
  if (argument.size() > kMaxArgument) {
    return argument.substr(0, argument.find(',', kMaxArgument / 2)) + ",...";
  }
  return argument.find_first_not_of(kSafe) == std::string::npos ? argument : "'" + argument + "'";
}

std::string CommandLine(const CaptureCase& chosen) {
  std::string out;
  for (const std::string& variable : chosen.environment) {
    const std::size_t equals = variable.find('=');
    out += variable.substr(0, equals + 1) + Quoted(variable.substr(equals + 1)) + " ";
  }
  out += "sluice-init";
  for (const std::string& argument : chosen.args) out += " " + Quoted(argument);
  return out;
}

// Facts about the host that count besides the command line.
std::string Pod(const CaptureCase& chosen, const capture::CaptureConfig& config) {
  std::string out;
  if (!chosen.pod_has_ipv6) out += "No interface of the pod has a global IPv6 address. ";
  if (config.redirect_dns && !config.capture_all_dns) {
    std::string names;
    for (const std::string& resolver : chosen.resolvers) {
      names += (names.empty() ? "" : " and ") + resolver;
    }
    out += "`/etc/resolv.conf` names " + (names.empty() ? "no resolver" : names) + ". ";
  }
  if (const auto routing = capture::BuildPolicyRouting(config)) {
    out += "Beside the rules there are a policy rule and a local route in table " +
           std::to_string(routing->route_table) + ". ";
  }
  if (!out.empty()) out.back() = '\n';
  return out.empty() ? out : "\n" + out;
}

std::string Rules(std::string_view family, const std::string& text) {
  const std::string name(family);
  if (text.empty()) return "\nNo rules for " + name + ".\n";
  // IPv6 mostly repeats IPv4, so it is folded.
  const bool folded = family == "IPv6";
  std::string out = folded ? "\n<details><summary>IPv6</summary>\n" : "\n" + name + ":\n";
  out += "\n```\n" + text + "```\n";
  if (folded) out += "\n</details>\n";
  return out;
}

// The same for the other backend, folded.
std::string Nftables(const std::string& text) {
  std::string spaces;
  for (const char letter : text)
    spaces += letter == '\t' ? std::string("  ") : std::string(1, letter);
  return "\n<details><summary>nftables</summary>\n\n```\n" + spaces + "```\n\n</details>\n";
}

std::string Section(const RulePage::Case& described) {
  const CaptureCase& chosen = testing_support::FindCase(described.name);
  const capture::CaptureConfig config = testing_support::ConfigOf(chosen);
  const capture::RuleSet rules = capture::BuildRules(config);
  return "\n## " + chosen.name + "\n\n" + std::string(described.meaning) + "\n\n```sh\n" +
         CommandLine(chosen) + "\n```\n" + Pod(chosen, config) +
         Rules("IPv4", iptables::RestoreText(iptables::Compile(rules.v4))) +
         Rules("IPv6", iptables::RestoreText(iptables::Compile(rules.v6))) +
         Nftables(nftables::NftText(nftables::Compile(rules)));
}

std::string Page(const RulePage& page) {
  std::string out = std::string(kNotice) + "# " + std::string(page.title) + "\n";
  for (const RulePage::Case& described : page.cases) out += Section(described);
  return out;
}

std::string Index() {
  std::string out = std::string(kNotice) +
                    "# The rules of named configurations\n\n"
                    "Each is a case of the tests: its rules are compared with these texts, and "
                    "applied in real\nnamespaces. [The architecture](../architecture.md#the-rules) "
                    "explains one rule by rule.\n";
  for (const RulePage& page : RulePages()) {
    const std::string file = std::string(page.file) + ".md";
    out += "\n## [" + std::string(page.title) + "](" + file + ")\n\n";
    for (const RulePage::Case& described : page.cases) {
      const std::string name(described.name);
      out += "- [" + name + "](" + file + "#" + name + ")\n";
    }
  }
  return out;
}

std::map<std::string, std::string> Documents() {
  std::map<std::string, std::string> documents = {{"README.md", Index()}};
  for (const RulePage& page : RulePages()) {
    documents[std::string(page.file) + ".md"] = Page(page);
  }
  return documents;
}

bool Updating() {
  const char* const update = std::getenv("SLUICE_UPDATE_GOLDENS");
  return update != nullptr && std::string_view(update) == "1";
}

TEST(RulePages, ArePresentAndUpToDate) {
  for (const auto& [name, text] : Documents()) {
    const auto path = std::filesystem::path(SLUICE_RULE_PAGES_DIR) / name;
    if (Updating()) {
      std::ofstream(path) << text;
      continue;
    }
    std::ifstream file(path);
    ASSERT_TRUE(file) << "no " << path << "; SLUICE_UPDATE_GOLDENS=1 writes it";
    const std::string found(std::istreambuf_iterator<char>(file), {});
    EXPECT_TRUE(found == text) << path << " has drifted; SLUICE_UPDATE_GOLDENS=1 writes it anew";
  }
}

TEST(RulePages, AreAllThatTheDirectoryHolds) {
  const auto documents = Documents();
  for (const auto& file : std::filesystem::directory_iterator(SLUICE_RULE_PAGES_DIR)) {
    EXPECT_TRUE(documents.contains(file.path().filename())) << file.path();
  }
}

TEST(RulePages, DescribeEveryCaseOnce) {
  std::multiset<std::string_view> described;
  for (const RulePage& page : RulePages()) {
    for (const RulePage::Case& entry : page.cases) described.insert(entry.name);
  }
  for (const CaptureCase& chosen : CaptureCases()) {
    EXPECT_EQ(described.count(chosen.name), 1U)
        << chosen.name << ": say what it means in test/unit/docs/rule_pages.cc";
  }
  EXPECT_EQ(described.size(), CaptureCases().size());
}

}  // namespace
}  // namespace sluice::docs
