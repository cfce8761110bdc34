// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/support/init_program.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <ostream>
#include <ranges>
#include <regex>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "base/error.h"
#include "capture/rule.h"
#include "netns/route_socket.h"

namespace sluice::testing_support {
namespace {

std::vector<std::string> Lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string Saved(const netns::Namespace& where, Family family, WithCounters counters) {
  if (counters == WithCounters::kNo) return SavedRules(where, family);
  const std::string program =
      family == Family::kIpv4 ? "iptables-legacy-save" : "ip6tables-legacy-save";
  const CommandResult saved = RunCommand(where, {.argv = {program, "-c"}});
  if (saved.exit_status != 0) {
    throw Error(ErrorKind::kFailed,
                {.doing = "run " + program, .target = {}, .why = saved.err, .help = {}});
  }
  return saved.out;
}

// The sections of a save program's output, by table.
void AddTables(const std::string& family, const std::string& saved,
               std::map<std::string, std::string>& out) {
  std::string name;
  std::string text;
  bool anything = false;
  for (const std::string& line : Lines(saved)) {
    if (line.empty() || line.starts_with('#')) continue;
    if (line.starts_with('*')) {
      name = family + " " + line.substr(1);
      text.clear();
      anything = false;
    } else if (line == "COMMIT") {
      if (anything) out[name] = text;
    } else {
      // User-defined chains have no policy.
      anything = anything || line.find(" ACCEPT") == std::string::npos || !line.starts_with(':');
      // A policy's counters restart with each commit of the table, by anybody.
      text += (line.starts_with(':') ? line.substr(0, line.find(" [")) : line) + "\n";
    }
  }
}

// The same for the output of `nft list ruleset`. Its chains are in the order of creation, which has
// no meaning.
void AddNftTables(const std::string& listed, std::map<std::string, std::string>& out) {
  static const std::regex kCounter(R"(counter packets (\d+) bytes (\d+))");
  std::map<std::string, std::set<std::string>> chains;
  std::string table;
  std::string key;
  std::string block;
  for (const std::string& line : Lines(std::regex_replace(listed, kCounter, "counter [$1:$2]"))) {
    if (line.starts_with("table ")) {
      table = "nft " + line.substr(6, line.rfind(" {") - 6);
      chains[table];
    } else if (line.starts_with("\t")) {
      if (block.empty()) {
        const auto slash = line.find('/');
        const bool of_ours = line.starts_with("\tchain ") && slash != std::string::npos;
        key = of_ours ? table + " " + line.substr(7, slash - 7) : table;
      }
      block += line + "\n";
      if (line != "\t}") continue;
      chains[key].insert(block);
      block.clear();
    }
  }
  for (const auto& [name, blocks] : chains) {
    for (const std::string& text : blocks) out[name] += text;
    out[name];
  }
}

// "[12:3456]" at the start of a rule.
const std::regex& CounterPattern() {
  static const std::regex pattern(R"(\[(\d+):(\d+)\])");
  return pattern;
}

struct Counted {
  std::string text;  // without counters
  std::vector<unsigned long long> counters;
};

Counted Split(const std::string& text) {
  Counted out;
  std::string rest = text;
  for (std::smatch match; std::regex_search(rest, match, CounterPattern());
       rest = match.suffix().str()) {
    out.text += match.prefix().str();
    out.counters.push_back(std::stoull(match[1].str()));
    out.counters.push_back(std::stoull(match[2].str()));
  }
  out.text += rest;
  return out;
}

}  // namespace

std::string BackendUnderTest() {
  const char* const chosen = std::getenv("SLUICE_TEST_BACKEND");
  return chosen != nullptr ? chosen : "iptables";
}

Command InitCommand(std::vector<std::string> args) {
  if (std::getenv("SLUICE_TEST_BACKEND") != nullptr &&
      std::ranges::find(args, "--backend") == args.end()) {
    // First, because bad command lines may end where a value is missing.
    args.insert(args.begin(), {"--backend", BackendUnderTest()});
  }
  args.insert(args.begin(), ProgramPath("sluice-init"));
  return {.argv = std::move(args)};
}

CommandResult RunInit(const netns::Namespace& where, std::vector<std::string> args) {
  return RunCommand(where, InitCommand(std::move(args)));
}

Command CaseCommand(const CaptureCase& chosen, std::vector<std::string> more) {
  std::vector<std::string> args = chosen.args;
  args.insert(args.end(), more.begin(), more.end());
  Command command = InitCommand(std::move(args));
  command.environment = chosen.environment;
  const auto given = [&chosen](const char* flag) {
    return std::ranges::find(chosen.args, flag) != chosen.args.end();
  };
  if (!given("--redirect-dns") || given("--capture-all-dns")) return command;
  std::string text;
  for (const std::string& resolver : chosen.resolvers) text += "nameserver " + resolver + "\n";
  command.input = text;
  const std::vector<std::string> wrapper = {
      "unshare",
      "--mount",
      "sh",
      "-c",
      "mount -t tmpfs none /mnt && cat >/mnt/resolv.conf && mount --bind /mnt/resolv.conf "
      "/etc/resolv.conf && exec \"$@\"",
      "sh"};
  command.argv.insert(command.argv.begin(), wrapper.begin(), wrapper.end());
  return command;
}

CommandResult RunCase(const netns::Namespace& where, const CaptureCase& chosen,
                      std::vector<std::string> more) {
  return RunCommand(where, CaseCommand(chosen, std::move(more)));
}

std::ostream& operator<<(std::ostream& out, const Snapshot& snapshot) {
  for (const auto& [name, text] : snapshot.tables) out << "\n*" << name << "\n" << text;
  const auto list = [&out](const char* title, const auto& values) {
    out << "\n" << title << ":";
    for (const auto& value : values) out << "\n  " << value;
  };
  list("policy rules", snapshot.policy_rules);
  list("routes", snapshot.routes);
  list("addresses", snapshot.addresses);
  return out << "\n";
}

Snapshot TakeSnapshot(const netns::Namespace& where, WithCounters counters) {
  Snapshot out;
  AddTables("v4", Saved(where, Family::kIpv4, counters), out.tables);
  AddTables("v6", Saved(where, Family::kIpv6, counters), out.tables);
  std::vector<std::string> nft = {"nft", "list", "ruleset"};
  if (counters == WithCounters::kNo) nft.insert(nft.begin() + 1, "-s");
  const CommandResult listed = RunCommand(where, {.argv = nft});
  if (listed.exit_status != 0) {
    throw Error(ErrorKind::kFailed,
                {.doing = "run nft", .target = {}, .why = listed.err, .help = {}});
  }
  AddNftTables(listed.out, out.tables);
  netns::RouteSocket socket(where);
  for (const Family family : capture::kFamilies) {
    // 133 and 200 are named in the cases.
    std::set<std::uint32_t> tables = {netns::kMainTable, 133, 200};
    for (const netns::PolicyRule& rule : socket.Rules(family)) {
      out.policy_rules.push_back(rule);
      tables.insert(rule.table);
    }
    // The kernel's first policy rule names the local table, where the kernel adds a route for each
    // address, asynchronously; addresses are compared below.
    tables.erase(netns::kLocalTable);
    for (const std::uint32_t table : tables) {
      std::ranges::copy(socket.Routes(family, table), std::back_inserter(out.routes));
    }
  }
  // Link-local routes depend on the links' random hardware addresses, and appear late.
  std::erase_if(out.routes, [](const netns::Route& route) {
    return route.destination.address().IsLinkLocal();
  });
  out.addresses = socket.Addresses();
  std::erase_if(out.addresses,
                [](const netns::AddressEntry& entry) { return entry.address.ip.IsLinkLocal(); });
  for (netns::AddressEntry& entry : out.addresses) entry.link_index = 0;
  std::ranges::sort(out.addresses);
  std::ranges::sort(out.routes);
  return out;
}

bool OnlyCountedOn(const Snapshot& before, const Snapshot& after) {
  if (before.tables.size() != after.tables.size()) return false;
  for (const auto& [name, text] : before.tables) {
    const auto other = after.tables.find(name);
    if (other == after.tables.end()) return false;
    const Counted old_ones = Split(text);
    const Counted new_ones = Split(other->second);
    if (old_ones.text != new_ones.text) return false;
    for (std::size_t i = 0; i < old_ones.counters.size(); ++i) {
      if (new_ones.counters[i] < old_ones.counters[i]) return false;
    }
  }
  return true;
}

bool HasCounted(const Snapshot& snapshot) {
  return std::ranges::any_of(snapshot.tables | std::views::values, [](const std::string& text) {
    const auto counters = Split(text).counters;
    return std::ranges::any_of(counters, [](auto value) { return value != 0; });
  });
}

const std::string& NatOf(const Snapshot& snapshot) {
  return snapshot.tables.at(TestsNftables() ? "nft ip sluice nat" : "v4 nat");
}

std::string RulesOf(const netns::Namespace& where, Family family) {
  if (!TestsNftables()) return SavedRules(where, family);
  const char* const name = family == Family::kIpv4 ? "ip" : "ip6";
  return RunCommand(where, {.argv = {"nft", "-s", "list", "table", name, "sluice"}}).out;
}

void Nft(const netns::Namespace& where, const std::string& commands) {
  const CommandResult result = RunCommand(where, {.argv = {"nft", "-f", "-"}, .input = commands});
  EXPECT_EQ(result.exit_status, 0) << commands << ": " << result.err;
}

void Iptables(const netns::Namespace& where, Family family, const std::string& arguments) {
  Command command{.argv = {family == Family::kIpv4 ? "iptables-legacy" : "ip6tables-legacy", "-w"}};
  std::istringstream words(arguments);
  for (std::string word; words >> word;) command.argv.push_back(word);
  const CommandResult result = RunCommand(where, command);
  EXPECT_EQ(result.exit_status, 0) << arguments << ": " << result.err;
}

std::string TableNames(const netns::Namespace& where) {
  return CallIn(where, kRoot, [] {
    std::string out;
    for (const char* file : {"ip_tables_names", "ip6_tables_names"}) {
      std::ifstream names(std::string("/proc/thread-self/net/") + file);
      out += std::string(std::istreambuf_iterator<char>(names), {});
    }
    return out;
  });
}

}  // namespace sluice::testing_support
