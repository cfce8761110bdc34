// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/unit/docs/rule_pages.h"

namespace sluice::docs {
namespace {

RulePage Manifests() {
  return {
      "manifests",
      "What manifests contain",
      {{"seed-manifest",
        "The command line of an injected pod: all inbound ports but the proxy's own 15090 and "
        "15020, and all outbound connections."},
       {"current-manifest",
        "The same of today's injection template, which excludes 15021 as well, in a pod with both "
        "address families."},
       {"seed-dual-stack", "`--dual-stack` writes IPv6 rules whatever addresses the pod has now."},
       {"no-ipv6", "`--ipv6 off` leaves IPv6 alone in a pod that has it. A warning says so."},
       {"defaults",
        "Without any flag nothing inbound and no outbound range is captured. What stays is the "
        "proxy's call of its own pod."},
       {"other-ports",
        "A proxy on other ports: `-p` outbound, `-z` inbound, `-e` its tunnel port."},
       {"everything", "Most flags together, to show the order of their rules."}}};
}

RulePage Inbound() {
  return {
      "inbound",
      "Inbound ports and sources",
      {{"inbound-none", "An empty `-b` captures no inbound port."},
       {"inbound-list", "A list captures these ports and no other."},
       {"port-ranges", "Ranges stand wherever a list of ports does, in both directions."},
       {"exclude-port-ranges",
        "Ranges among the excluded ports, inbound (`-d`) and outbound (`-o`)."},
       {"inbound-exclude-cidr",
        "Connections from these sources reach the application directly. A range counts in its own "
        "address family only."},
       {"many-excluded-sources",
        "More than 32 ranges become a tree of chains. What is in none of them goes on in "
        "`ISTIO_INBOUND_PORTS`."},
       {"capture-listening",
        "`--capture-listening`: a connection is captured while a socket listens for it. The others "
        "are redirected to port 0, which no socket can have, so that the kernel refuses them; left "
        "alone, one would get past the proxy when somebody begins to listen between the rule and "
        "the delivery."},
       {"capture-listening-list", "The same for listed ports."},
       {"drop-invalid",
        "Packets that connection tracking calls INVALID pass every redirection, and reach a socket "
        "that does not know them. Here they are dropped in table mangle."}}};
}

RulePage Outbound() {
  return {
      "outbound",
      "Outbound destinations",
      {{"outbound-none", "An empty `-i` captures no range."},
       {"outbound-cidrs", "These ranges only."},
       {"outbound-exclude-cidr", "Everything but these ranges."},
       {"outbound-ports", "`-q` captures ports whatever the address; here, nothing else."},
       {"outbound-ports-exclude",
        "`-o` leaves ports alone, of TCP and of UDP, so that an excluded DNS port counts, too."},
       {"v6-cidrs",
        "Ranges of both families in one list, captured and excluded. Each reaches the table of its "
        "own family."},
       {"cidrs-that-merge",
        "Halves become their whole, covered ranges disappear, bits behind the length are cleared; "
        "spaces and a comma at the end are tolerated."},
       {"many-excluded-cidrs",
        "More than 32 ranges become a tree of chains: a new connection walks a few rules of each "
        "level instead of the whole list. What is in none of them goes on in "
        "`ISTIO_OUTPUT_PORTS`."},
       {"many-included-cidrs", "The same for ranges to capture."},
       {"loopback-included",
        "When a loopback range is to be captured, the rule that leaves all of lo alone is left "
        "out."},
       {"loopback-range", "All of 127.0.0.0/8 is never captured, instead of 127.0.0.1 alone."}}};
}

RulePage Owners() {
  return {
      "owners",
      "Users and groups",
      {{"gid-only",
        "The proxy's gid is given, the uid is the default. Both have a redirect of calls of the "
        "own "
        "pod before anything returns."},
       {"other-gid", "A gid that is not the uid."},
       {"multi-uid",
        "Two proxy users and two groups. All positive matches come first, so that each of them can "
        "call its own pod."},
       {"several-uids-and-gids", "Three users, two groups."},
       {"exclude-owners", "Other users and groups whose outbound traffic is left alone."},
       {"owner-groups-include",
        "Only the traffic of these groups is captured, here by the environment variable."},
       {"owner-groups-none", "No group: nothing outbound is captured."},
       {"owner-groups-exclude", "The traffic of these groups is left alone."}}};
}

RulePage Interfaces() {
  return {
      "interfaces",
      "Interfaces",
      {{"exclude-interface", "Nothing is captured on eth1, in either direction."},
       {"exclude-interfaces", "Several, and a `+` for any ending."},
       {"include-interfaces",
        "Capture on these only, and on lo, where the proxy's calls of its own pod pass. The "
        "decisions go on in chains of their own."},
       {"include-and-exclude-interfaces", "All that begin with eth, but eth1."},
       {"virt-interface", "What arrives from virtual machines behind eth1 is treated as outbound."},
       {"virt-and-cidrs",
        "With ranges to capture, they count for virtual machines, too; their chain is "
        "`ISTIO_VIRT_OUTPUT`."},
       {"virt-and-nothing-outbound",
        "Nothing is captured outbound, of virtual machines neither."}}};
}

RulePage Dns() {
  return {
      "dns",
      "DNS",
      {{"dns-all",
        "Queries to any resolver, over UDP and TCP, go to port 15053. Table raw gives the agent's "
        "queries and the applications' a conntrack zone each, because both can have the same "
        "source "
        "port."},
       {"dns-all-v6", "The same in both families."},
       {"dns-resolvconf",
        "Only queries to the pod's resolvers, each in the table of its own family."},
       {"dns-v4-resolver-only", "No IPv6 resolver: no IPv6 DNS rules."},
       {"dns-no-resolver", "No resolver at all: nothing is redirected. A warning says so."},
       {"dns-several-uids",
        "Each of the proxy's users and groups reaches the resolver, on lo as well."},
       {"dns-and-exclude",
        "Users and groups that are left alone reach the resolver themselves, in the agent's zone. "
        "Excluded ranges do not count for DNS, which is looked at before them."}}};
}

RulePage Tproxy() {
  return {
      "tproxy",
      "TPROXY",
      {{"tproxy-all",
        "Table mangle gives inbound packets to the proxy's socket as they are. The guards against "
        "loops come first: what the proxy marked, what comes from 127.0.0.6, what did not come "
        "from "
        "the proxy's call of its own pod. Outbound stays REDIRECT in table nat."},
       {"tproxy-list", "These ports only."},
       {"tproxy-dual", "In both families."},
       {"tproxy-custom-mark",
        "Another mark, and with it another mask: the lowest bits that hold it and 1338."},
       {"tproxy-drop-invalid", "INVALID packets are dropped before anything else."},
       {"tproxy-interfaces", "Excluded, included and virtual machines' interfaces."},
       {"tproxy-dns", "With DNS redirection."},
       {"tproxy-inbound-none", "No inbound port: no rule in table mangle, and no policy rule."}}};
}

}  // namespace

const std::vector<RulePage>& RulePages() {
  static const std::vector<RulePage> pages = {Manifests(),  Inbound(), Outbound(), Owners(),
                                              Interfaces(), Dns(),     Tproxy()};
  return pages;
}

}  // namespace sluice::docs
