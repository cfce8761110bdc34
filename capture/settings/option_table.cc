// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/option_table.h"

#include <algorithm>

namespace sluice::capture {
namespace {

constexpr OptionKind kBool = OptionKind::kBool;
constexpr const char* kNoLogFile = "messages go to stderr, and no file is written";

template <std::size_t kSize>
constexpr std::array<OptionSpec, kSize> WithVariables(std::array<OptionSpec, kSize> table) {
  for (OptionSpec& option : table) {
    if (option.flag_only) continue;
    std::size_t end = 0;
    const auto append = [&](std::string_view text) {
      for (const char c : text) {
        const bool lower = c >= 'a' && c <= 'z';
        option.variable.at(end++) = c == '-' ? '_' : static_cast<char>(lower ? c - 'a' + 'A' : c);
      }
    };
    if (option.ours) append("SLUICE_");
    append(option.name);
    append(std::string_view("\0", 1));
  }
  return table;
}

// Built at compile time: building it at each start took a tenth of a run's instructions.
constexpr auto kTable = WithVariables(std::to_array<OptionSpec>({
    // --- istio-iptables ---
    {.name = "envoy-port",
     .letter = 'p',
     .fallback = "15001",
     .help = "port of the proxy that outbound TCP connections are redirected to"},
    {.name = "inbound-capture-port",
     .letter = 'z',
     .fallback = "15006",
     .help = "port of the proxy that inbound TCP connections are redirected to"},
    {.name = "inbound-tunnel-port",
     .letter = 'e',
     .fallback = "15008",
     .help = "inbound port that the proxy listens on itself (HBONE); redirected by TPROXY only"},
    {.name = "proxy-uid",
     .letter = 'u',
     .help =
         "users whose traffic is the proxy's own and is not captured; names or numbers (default: "
         "the uid of ENVOY_USER, else 1337)"},
    {.name = "proxy-gid",
     .letter = 'g',
     .help = "groups whose traffic is the proxy's own; names or numbers (default: what --proxy-uid "
             "is)"},
    {.name = "envoy-user",
     .fallback = "istio-proxy",
     .help = "name of the user whose uid is the default of --proxy-uid"},
    {.name = "istio-inbound-interception-mode",
     .letter = 'm',
     .fallback = "REDIRECT",
     .help = "REDIRECT or TPROXY, for inbound connections",
     .other_variables = {"INBOUND_INTERCEPTION_MODE"},
     .annotations = {"sidecar.istio.io/interceptionMode"}},
    {.name = "istio-inbound-tproxy-mark",
     .letter = 't',
     .fallback = "1337",
     .help = "mark of captured packets in TPROXY mode",
     .other_variables = {"INBOUND_TPROXY_MARK"}},
    {.name = "istio-inbound-tproxy-route-table",
     .letter = 'r',
     .fallback = "133",
     .help = "routing table that delivers marked packets locally in TPROXY mode",
     .other_variables = {"INBOUND_TPROXY_ROUTE_TABLE"}},
    {.name = "istio-inbound-ports",
     .letter = 'b',
     .help = "inbound ports to capture: a list of ports and ranges, * for all, empty for none",
     .annotations = {"traffic.sidecar.istio.io/includeInboundPorts"}},
    {.name = "istio-local-exclude-ports",
     .letter = 'd',
     .help = "inbound ports to leave alone when all others are captured",
     .annotations = {"traffic.sidecar.istio.io/excludeInboundPorts"}},
    {.name = "istio-exclude-interfaces",
     .letter = 'c',
     .help = "interfaces on which nothing is captured; a trailing + stands for any ending",
     .annotations = {"traffic.sidecar.istio.io/excludeInterfaces"}},
    {.name = "istio-service-cidr",
     .letter = 'i',
     .help = "destinations to capture: a list of ranges, * for all, empty for none",
     .annotations = {"traffic.sidecar.istio.io/includeOutboundIPRanges"}},
    {.name = "istio-service-exclude-cidr",
     .letter = 'x',
     .help = "destinations to leave alone: a list of ranges",
     .annotations = {"traffic.sidecar.istio.io/excludeOutboundIPRanges"}},
    {.name = "istio-outbound-ports",
     .letter = 'q',
     .help = "destination ports to capture whatever the address",
     .annotations = {"traffic.sidecar.istio.io/includeOutboundPorts"}},
    {.name = "istio-local-outbound-ports-exclude",
     .letter = 'o',
     .help = "destination ports to leave alone",
     .annotations = {"traffic.sidecar.istio.io/excludeOutboundPorts"}},
    {.name = "kube-virt-interfaces",
     .letter = 'k',
     .help = "interfaces of virtual machines: what arrives there is treated as outbound",
     .annotations = {"istio.io/reroute-virtual-interfaces",
                     "traffic.sidecar.istio.io/kubevirtInterfaces"}},
    {.name = "istio-outbound-owner-groups",
     .fallback = "*",
     .help = "capture outbound traffic of these groups only; names or numbers, * for all"},
    {.name = "istio-outbound-owner-groups-exclude",
     .help = "groups whose outbound traffic is left alone; names or numbers"},
    {.name = "istio-outbound-ipv4-loopback-cidr",
     .fallback = "127.0.0.1/32",
     .help = "IPv4 loopback range that is never captured"},
    {.name = "redirect-dns",
     .kind = kBool,
     .fallback = "false",
     .help = "redirect DNS to the agent on port 15053",
     .other_variables = {"ISTIO_META_DNS_CAPTURE"}},
    {.name = "capture-all-dns",
     .kind = kBool,
     .fallback = "false",
     .help = "with --redirect-dns: to any resolver, not only those of /etc/resolv.conf"},
    {.name = "drop-invalid",
     .kind = kBool,
     .fallback = "false",
     .help = "drop packets that connection tracking calls INVALID",
     .other_variables = {"INVALID_DROP"}},
    {.name = "dual-stack",
     .kind = kBool,
     .fallback = "false",
     .help = "IPv6 rules always, not only when an interface has a global IPv6 address",
     .other_variables = {"ISTIO_DUAL_STACK", "ISTIO_AGENT_DUAL_STACK"}},
    {.name = "dry-run",
     .letter = 'n',
     .kind = kBool,
     .fallback = "false",
     .help =
         "print the rules for iptables-restore --noflush, or for nft -f with --backend nftables; "
         "needs no privilege, changes nothing"},
    {.name = "restore-format",
     .letter = 'f',
     .kind = kBool,
     .fallback = "true",
     .help = "format of --dry-run; there is no other"},
    {.name = "clean",
     .kind = kBool,
     .fallback = "false",
     .help = "the same as --cleanup-only",
     .flag_only = true},
    {.name = "cleanup-only",
     .kind = kBool,
     .fallback = "false",
     .help = "remove all that is ours, whatever configuration made it"},
    {.name = "reconcile",
     .kind = kBool,
     .fallback = "false",
     .help = "accepted; a difference is always reconciled"},
    {.name = "force-apply",
     .kind = kBool,
     .fallback = "false",
     .help = "write the rules even when they are in place already"},
    {.name = "skip-rule-apply",
     .kind = kBool,
     .fallback = "false",
     .help = "leave the rules as they are; for use with --run-validation"},
    {.name = "run-validation",
     .kind = kBool,
     .fallback = "false",
     .help = "afterwards, check with real connections that the rules do what they should"},
    {.name = "iptables-probe-port",
     .fallback = "15002",
     .help = "port that --run-validation connects to"},
    {.name = "probe-timeout",
     .fallback = "5s",
     .help = "how long --run-validation waits for a connection: 500ms, 1.5s, 1m"},
    {.name = "network-namespace",
     .help = "where to work: a path, a name under /run/netns, or pid:N"},
    {.name = "cni-mode",
     .kind = kBool,
     .fallback = "false",
     .help = "accepted; the lock is the network namespace's own in any mode"},
    {.name = "force-iptables-binary",
     .help = "legacy: the same as --backend iptables; nft: as --backend nftables"},
    {.name = "force-legacy-iptables",
     .kind = kBool,
     .fallback = "false",
     .help = "the same as --backend iptables"},
    {.name = "native-nftables",
     .kind = kBool,
     .fallback = "false",
     .help = "the same as --backend nftables"},
    {.name = "iptables-trace-logging",
     .kind = kBool,
     .fallback = "false",
     .ignored = "no LOG rules are written; `sluice-init show` prints packet counters"},
    {.name = "host-nsenter-exec",
     .kind = kBool,
     .fallback = "false",
     .ignored = "no child process is ever started; --network-namespace is entered directly"},
    {.name = "output-paths",
     .ignored = "the rules are not written to a file; --dry-run and `sluice-init show` print them"},
    // Newer versions have these as variables only. Ignoring them would capture the wrong traffic.
    {.name = "istio-outbound-owner-users",
     .fallback = "*",
     .refused = "traffic cannot be captured by a list of users; use "
                "--istio-outbound-owner-groups, or --exclude-uids for the others"},
    {.name = "istio-outbound-owner-users-exclude",
     .refused = "use --exclude-uids, which takes names and numbers"},
    // --- logging flags of istio-iptables ---
    {.name = "log_output_level",
     .fallback = "default:info",
     .help = "what to log: debug, info, warn, error, fatal or none, as LEVEL or default:LEVEL; "
             "other scopes are passed over",
     .flag_only = true},
    {.name = "log_as_json",
     .kind = kBool,
     .fallback = "false",
     .help = "the same as --log-format json",
     .flag_only = true},
    {.name = "log_target",
     .fallback = "stdout",
     .ignored = "messages go to stderr",
     .flag_only = true},
    {.name = "log_rotate", .ignored = kNoLogFile, .flag_only = true},
    {.name = "log_rotate_max_age", .ignored = kNoLogFile, .flag_only = true},
    {.name = "log_rotate_max_backups", .ignored = kNoLogFile, .flag_only = true},
    {.name = "log_rotate_max_size", .ignored = kNoLogFile, .flag_only = true},
    {.name = "log_stacktrace_level", .ignored = "there are no stack traces", .flag_only = true},
    {.name = "log_caller", .ignored = "messages do not name source files", .flag_only = true},
    {.name = "vklog", .ignored = "no Kubernetes client is used", .flag_only = true},
    // --- Sluice's own ---
    {.name = "exclude-uids",
     .help = "users whose outbound traffic is left alone; names or numbers"},
    {.name = "exclude-gids",
     .help = "groups whose outbound traffic is left alone; names or numbers"},
    {.name = "include-interfaces",
     .help = "capture on these interfaces only; a trailing + stands for any ending"},
    {.name = "istio-inbound-exclude-cidr",
     .help = "sources whose inbound connections are left alone: a list of ranges"},
    {.name = "capture-listening",
     .kind = kBool,
     .fallback = "false",
     .help = "capture inbound ports only while somebody listens on them, and refuse connections to "
             "the others; in REDIRECT mode",
     .annotations = {"sluice.dev/capture-listening"}},
    {.name = "backend",
     .fallback = "auto",
     .help = "iptables (x_tables), nftables, or auto: what is in place, else what the kernel uses",
     .ours = true},
    {.name = "ipv6",
     .fallback = "auto",
     .help = "auto (when an interface has a global or unique-local address), on, or off",
     .ours = true},
    {.name = "wait",
     .fallback = "30",
     .help = "how long to wait for the lock of the network namespace: 30, 500ms, 1m",
     .ours = true},
    {.name = "rollback-on-failed-validation",
     .kind = kBool,
     .fallback = "false",
     .help = "with --run-validation: put everything back when it fails"},
    {.name = "log-format",
     .fallback = "text",
     .help = "text: lines on stderr; json: one object on stderr",
     .ours = true},
    {.name = "output",
     .fallback = "text",
     .help = "of doctor, explain, show, diff, trace and verify: text, or json; of graph: mermaid "
             "(which is its text), dot or svg",
     .ours = true},
    {.name = "nonzero",
     .kind = kBool,
     .fallback = "false",
     .help = "of show: only rules that packets have met",
     .ours = true},
    // --- of explain ---
    {.name = "to",
     .help = "of explain: where the connection goes, ADDRESS:PORT or [ADDRESS]:PORT",
     .flag_only = true},
    {.name = "from",
     .help = "of explain: its source, ADDRESS or ADDRESS:PORT; of an inbound one, unless a sender "
             "is named",
     .flag_only = true},
    {.name = "from-uid",
     .help = "of explain: the user that connects; of trace: only connections of these users",
     .flag_only = true},
    {.name = "from-gid",
     .help = "of explain: that user's primary group (default: the number of --from-uid)",
     .flag_only = true},
    {.name = "in-interface",
     .help = "of explain: the interface that an inbound connection comes by",
     .flag_only = true},
    {.name = "proto", .fallback = "tcp", .help = "of explain: tcp or udp", .flag_only = true},
    {.name = "mark",
     .fallback = "0",
     .help = "of explain: the mark of the packet, 1337 or 0x539",
     .flag_only = true},
    {.name = "ctstate",
     .fallback = "NEW",
     .help = "of explain: NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED",
     .flag_only = true},
    {.name = "planned",
     .kind = kBool,
     .fallback = "false",
     .help = "of explain and graph: the rules that this configuration would install, and nobody "
             "else's; "
             "needs no privilege",
     .flag_only = true},
    {.name = "batch",
     .help = "of explain: a file of JSON Lines, one connection each, or - for standard input",
     .flag_only = true},
    // --- of graph ---
    {.name = "file",
     .help = "of graph: write the picture there instead of to standard output, whole or not at all",
     .flag_only = true},
    {.name = "every",
     .help = "of graph: write --file again after this, 5s or 1m, until SIGINT or SIGTERM",
     .flag_only = true},
    // --- of trace ---
    {.name = "duration",
     .help = "of trace: how long, 10s or 5m (default: until SIGINT or SIGTERM)",
     .flag_only = true},
    {.name = "count",
     .fallback = "0",
     .help = "of trace: end after that many connections; 0 for no limit",
     .flag_only = true},
    {.name = "port",
     .help = "of trace: only connections to these ports, 80 or 8000-8999",
     .flag_only = true},
    {.name = "address",
     .help = "of trace: only connections from or to addresses in these ranges",
     .flag_only = true},
    {.name = "config", .help = "JSON file with flag names as keys", .ours = true},
    {.name = "print-config",
     .kind = kBool,
     .fallback = "false",
     .help = "print every setting, where it comes from and what it amounts to, and do nothing else",
     .ours = true},
}));

}  // namespace

std::span<const OptionSpec> Options() { return kTable; }

std::size_t IndexOfOption(std::string_view name) {
  const auto found = std::ranges::find(kTable, name, &OptionSpec::name);
  return static_cast<std::size_t>(found - kTable.begin());
}

std::vector<std::string_view> OptionNames() {
  std::vector<std::string_view> out;
  for (const OptionSpec& option : kTable) out.push_back(option.name);
  return out;
}

const OptionSpec* FindOption(std::string_view name) {
  const std::size_t index = IndexOfOption(name);
  return index == kTable.size() ? nullptr : &kTable[index];
}

std::string FlagOf(const OptionSpec& option) { return "--" + std::string(option.name); }

}  // namespace sluice::capture
