// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <array>
#include <string_view>

#include "base/text/program_text.h"
#include "capture/settings/option_table.h"
#include "capture/settings/settings.h"

namespace sluice::capture {
namespace {

struct Entry {
  std::string_view name;
  std::string_view value = {};  // as in OptionText
};

struct Group {
  const char* title;  // of the manual
  std::vector<Entry> entries;
};

constexpr const char* kGeneral = "What to do";
constexpr const char* kCompatible = "Accepted for compatibility";
constexpr const char* kRefused = "Refused";

// In the order of the manual. Options in none of them go to kGeneral or, depending on their kind,
// to one of the last two.
const std::vector<Group>& Groups() {
  static const std::vector<Group> groups = {
      {"Where captured connections go",
       {{"envoy-port", "PORT"},
        {"inbound-capture-port", "PORT"},
        {"inbound-tunnel-port", "PORT"},
        {"proxy-uid", "USERS"},
        {"proxy-gid", "GROUPS"},
        {"envoy-user", "NAME"}}},
      {"Inbound",
       {{"istio-inbound-interception-mode", "REDIRECT|TPROXY"},
        {"istio-inbound-tproxy-mark", "MARK"},
        {"istio-inbound-tproxy-route-table", "TABLE"},
        {"istio-inbound-ports", "PORTS"},
        {"istio-local-exclude-ports", "PORTS"},
        {"istio-inbound-exclude-cidr", "RANGES"},
        {"capture-listening"}}},
      {"Outbound",
       {{"istio-service-cidr", "RANGES"},
        {"istio-service-exclude-cidr", "RANGES"},
        {"istio-outbound-ports", "PORTS"},
        {"istio-local-outbound-ports-exclude", "PORTS"},
        {"exclude-uids", "USERS"},
        {"exclude-gids", "GROUPS"},
        {"istio-outbound-owner-groups", "GROUPS"},
        {"istio-outbound-owner-groups-exclude", "GROUPS"},
        {"istio-outbound-ipv4-loopback-cidr", "RANGE"}}},
      {"Interfaces",
       {{"istio-exclude-interfaces", "NAMES"},
        {"include-interfaces", "NAMES"},
        {"kube-virt-interfaces", "NAMES"}}},
      {"DNS", {{"redirect-dns"}, {"capture-all-dns"}}},
      {"Packets and families", {{"drop-invalid"}, {"ipv6", "auto|on|off"}, {"dual-stack"}}},
      {kGeneral,
       {{"dry-run"},
        {"restore-format"},
        {"cleanup-only"},
        {"force-apply"},
        {"reconcile"},
        {"network-namespace", "WHERE"},
        {"backend", "auto|iptables|nftables"},
        {"native-nftables"},
        {"wait", "DURATION"},
        {"config", "FILE"},
        {"print-config"},
        {"log-format", "text|json"},
        {"output", "text|json|mermaid|dot|svg"},
        {"nonzero"}}},
      {"Explanation",
       {{"to", "ADDRESS:PORT"},
        {"from-uid", "USER"},
        {"from-gid", "GROUP"},
        {"from", "ADDRESS"},
        {"in-interface", "NAME"},
        {"proto", "tcp|udp"},
        {"mark", "MARK"},
        {"ctstate", "STATE"},
        {"planned"},
        {"batch", "FILE"}}},
      {"Trace",
       {{"duration", "DURATION"}, {"count", "NUMBER"}, {"port", "PORTS"}, {"address", "RANGES"}}},
      {"Pictures", {{"file", "FILE"}, {"every", "DURATION"}}},
      {"Validation",
       {{"run-validation"},
        {"skip-rule-apply"},
        {"rollback-on-failed-validation"},
        {"iptables-probe-port", "PORT"},
        {"probe-timeout", "DURATION"}}},
      {kCompatible,
       {{"cni-mode"},
        {"force-iptables-binary", "NAME"},
        {"force-legacy-iptables"},
        {"clean"},
        {"log_output_level", "LEVEL"},
        {"log_as_json"}}},
      {kRefused, {}}};
  return groups;
}

std::string HelpOf(const OptionSpec& option) {
  if (*option.refused != '\0') return option.refused;
  if (*option.ignored != '\0') return std::string("ignored: ") + option.ignored;
  std::string help = option.help;
  if (*option.fallback != '\0' && option.kind == OptionKind::kText) {
    help += std::string(" (default: ") + option.fallback + ")";
  }
  return help;
}

OptionText TextOf(const OptionSpec& option, std::string_view value) {
  if (option.kind == OptionKind::kBool) {
    value = {};
  } else if (value.empty()) {
    value = "VALUE";
  }
  return {.name = std::string(option.name),
          .letter = option.letter,
          .value = std::string(value),
          .help = HelpOf(option)};
}

bool IsListed(std::string_view name) {
  return std::ranges::any_of(Groups(), [name](const Group& group) {
    return std::ranges::find(group.entries, name, &Entry::name) != group.entries.end();
  });
}

// The group of an option that no group lists.
const char* HomeOf(const OptionSpec& option) {
  if (*option.refused != '\0') return kRefused;
  return *option.ignored != '\0' ? kCompatible : kGeneral;
}

std::string HelpOfCommand(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, const char*>, 7> kHelps = {{
      {"diff", "what would change; if anything, exit 10"},
      {"doctor", "what hinders capture; if anything, exit 10"},
      {"explain", "where a connection lands, and why"},
      {"graph", "all rules, foreign ones too, as a picture"},
      {"show", "the installed Sluice rules, with counters"},
      {"trace", "where new connections land, while they do"},
      {"verify", "check with real connections"},
  }};
  const auto found = std::ranges::find(kHelps, name, [](const auto& each) { return each.first; });
  return found == kHelps.end() ? "" : found->second;
}

}  // namespace

ProgramText DescribeProgram() {
  ProgramText out{
      .name = "sluice-init", .aliases = {"istio-iptables"}, .commands = {}, .groups = {}};
  for (const std::string_view name : CommandNames()) {
    out.commands.push_back({std::string(name), HelpOfCommand(name)});
  }
  for (const Group& group : Groups()) {
    OptionGroup& text = out.groups.emplace_back(OptionGroup{group.title, {}});
    for (const Entry& entry : group.entries) {
      if (const OptionSpec* const option = FindOption(entry.name)) {
        text.options.push_back(TextOf(*option, entry.value));
      }
    }
    for (const OptionSpec& option : Options()) {
      if (!IsListed(option.name) && HomeOf(option) == std::string_view(group.title)) {
        text.options.push_back(TextOf(option, {}));
      }
    }
    if (std::string_view(group.title) != kGeneral) continue;
    text.options.push_back({"help", 'h', {}, "print this and exit"});
    text.options.push_back({"version", 0, {}, "print the version and exit"});
  }
  return out;
}

std::string HelpText() {
  const ProgramText program = DescribeProgram();
  std::string out = "Usage: sluice-init [OPTION]...        capture this namespace's traffic\n";
  for (const CommandText& command : program.commands) {
    std::string line = "       sluice-init " + command.name + " ";
    line.resize(std::max<std::size_t>(line.size(), 38), ' ');
    out += line + command.help + "\n";
  }
  out +=
      "       sluice-init completion SHELL   for bash, zsh or fish\n"
      "\n"
      "Redirects the connections of a pod, or of any network namespace, to a proxy.\n"
      "It works on the namespace that it is started in: on a host, that is the host.\n"
      "Takes the flags and environment variables of istio-iptables.\n"
      "\n";
  out += OptionHelp(program);
  out +=
      "\nA switch takes a value only after an equals sign: --dual-stack=false.\n"
      "\nEnvironment:\n" +
      Wrapped(
          "Flags can be set by variables: the name in upper case with underscores, as ENVOY_PORT. "
          "--clean and the flags of explain, graph and trace alone have none. These begin with "
          "SLUICE_, as SLUICE_WAIT:",
          2);
  std::string ours;
  for (const OptionSpec& option : Options()) {
    if (option.ours) ours += (ours.empty() ? "--" : " --") + std::string(option.name);
  }
  out += Wrapped(ours, 4);
  out +=
      "\nExamples:\n"
      "  sluice-init --dry-run -b '*' -i '*'\n"
      "          print the rules; needs no privilege\n"
      "  sluice-init -p 15001 -z 15006 -u 1337 -b '*' -d 15090,15020 -i '*'\n"
      "          what an init container does\n"
      "  sluice-init diff -b '*' -i '*' --network-namespace pid:4711\n"
      "          what is missing in the pod of that process\n"
      "  sluice-init show --nonzero\n"
      "          which rules packets have met\n"
      "  sluice-init --cleanup-only\n"
      "          remove all Sluice rules\n"
      "\nExit codes: 0 done, or already in place; 1 failed, everything put back; 2 usage\n"
      "or configuration; 3 privilege missing; 4 kernel feature missing; 5 lock not\n"
      "obtained; 10 diff: something would change, doctor: something stands against\n"
      "capture; 126 validation failed.\n";
  return out;
}

}  // namespace sluice::capture
