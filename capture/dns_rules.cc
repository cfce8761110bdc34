// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <utility>

#include "capture/rule_builder.h"

// Applications' queries go to the agent on port 15053; the agent's own go to the resolver.
namespace sluice::capture {
namespace {

constexpr PortRange kDns = PortRange::Single(53);

// A UDP query that REDIRECT sends to the agent and the agent's own query can have the same source
// port, and conntrack would confuse them; so each has its own zone. As in Istio.
constexpr CtZone kAgentToResolver{1};
constexpr CtZone kClientToAgent{2};

// The destinations that count as DNS servers: no range means every destination.
std::vector<Cidr> Resolvers(const CaptureConfig& config, Family family) {
  std::vector<Cidr> servers;
  if (config.capture_all_dns) return servers;
  for (const IpAddress& server : config.dns_servers) {
    const Cidr host(server, AddressBits(server.family()));
    // Not aggregated: two adjacent resolvers stay two rules, so that a person can find them.
    if (server.family() == family && std::ranges::find(servers, host) == servers.end()) {
      servers.push_back(host);
    }
  }
  return servers;
}

// Calls `add` once for each resolver, with a match on its address, or once with no match.
template <typename Add>
void ForEachResolver(const CaptureConfig& config, Family family, Add add) {
  if (config.capture_all_dns) return add(std::nullopt);
  for (const Cidr& server : Resolvers(config, family)) add(std::optional(Is(server)));
}

Rule FromPort(const PortRange& port, Target target) {
  return {.protocol = Protocol::kUdp,
          .matches = {PortMatch{.source = Is(port)}},
          .target = std::move(target)};
}

Rule OfSender(Rule rule, const Matches& owner) {
  rule.matches.insert(rule.matches.end(), owner.begin(), owner.end());
  return rule;
}

}  // namespace

bool RedirectsDns(const CaptureConfig& config, Family family) {
  return config.redirect_dns && (config.capture_all_dns || !Resolvers(config, family).empty());
}

void AddDnsRedirection(const CaptureConfig& config, Sequence& output) {
  if (!RedirectsDns(config, output.family())) return;
  output.Add({.target = Jump{"ISTIO_OUTPUT_DNS"}});
  Sequence dns(output.table(), "ISTIO_OUTPUT_DNS");
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    ForEachResolver(config, output.family(), [&](const std::optional<Condition<Cidr>>& server) {
      Rule rule = ToPorts(protocol, kDns, Redirect{config.dns_port});
      rule.destination = server;
      dns.Add(std::move(rule));
    });
  }
}

// The first zone wins, so the rules for known senders come before those for everybody.
TableRules BuildRaw(const CaptureConfig& config, Family family) {
  TableBuilder raw(Table::kRaw, family);
  if (!RedirectsDns(config, family)) return raw.Take();

  raw.JumpFrom(Hook::kOutput, {.target = Jump{"ISTIO_OUTPUT_DNS"}});
  Sequence output(raw, "ISTIO_OUTPUT_DNS");
  for (const OwnerMatch& owner : ProxyOwners(config)) {
    output.Add(OfSender(ToPorts(Protocol::kUdp, kDns, kAgentToResolver), {owner}));
    output.Add(OfSender(FromPort(PortRange::Single(config.dns_port), kClientToAgent), {owner}));
  }
  // A sender that is not captured talks to the resolver as the agent does.
  for (const Matches& owner : ExcludedOwners(config)) {
    output.Add(OfSender(ToPorts(Protocol::kUdp, kDns, kAgentToResolver), owner));
  }
  for (const Matches& owner : OwnersOutsideGroups(config)) {
    output.Add(OfSender(ToPorts(Protocol::kUdp, kDns, kAgentToResolver), owner));
  }
  ForEachResolver(config, family, [&](const std::optional<Condition<Cidr>>& server) {
    Rule query = ToPorts(Protocol::kUdp, kDns, kClientToAgent);
    query.destination = server;
    output.Add(std::move(query));
  });

  raw.JumpFrom(Hook::kPrerouting, {.target = Jump{"ISTIO_INBOUND"}});
  Sequence inbound(raw, "ISTIO_INBOUND");
  ForEachResolver(config, family, [&](const std::optional<Condition<Cidr>>& server) {
    Rule answer = FromPort(kDns, kAgentToResolver);
    answer.source = server;
    inbound.Add(std::move(answer));
  });
  return raw.Take();
}

}  // namespace sluice::capture
