// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "doctor/judge.h"

#include <utility>

#include "capture/evaluate.h"
#include "doctor/checks.h"

namespace sluice::doctor {
namespace {

constexpr std::size_t kMostSamples = 8;  // of addresses, and of ports

void AddSamples(const capture::Rule& rule, std::vector<IpAddress>& addresses,
                std::vector<std::uint16_t>& ports) {
  const auto add = [&addresses](const Cidr& range) {
    if (addresses.size() < kMostSamples) addresses.push_back(range.address());
  };
  if (rule.destination && !rule.destination->negated) add(rule.destination->value);
  if (rule.list && rule.list->of == capture::RangeOf::kDestination) {
    for (const Cidr& range : rule.list->ranges) add(range);
  }
  for (const capture::Match& match : rule.matches) {
    const auto* const port = std::get_if<capture::PortMatch>(&match);
    if (port == nullptr || !port->destination || port->destination->negated) continue;
    if (ports.size() < kMostSamples) ports.push_back(port->destination->value.first);
  }
}

}  // namespace

Finding NotChecked(std::string name, std::string why, std::string remedy) {
  return {.name = std::move(name),
          .state = State::kNote,
          .found = std::move(why),
          .remedy = std::move(remedy),
          .checked = false};
}

std::string Listed(const std::vector<std::string>& words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " and " : ", ";
    out += words[i];
  }
  return out;
}

bool IsCapturedOutbound(const InForce& rules, Family family, std::uint32_t uid, std::uint32_t gid) {
  // One address of the documentation networks (RFC 5737, RFC 3849), and one of each range and each
  // port that a rule names.
  std::vector<IpAddress> addresses = {family == Family::kIpv4 ? IpAddress::V4(198, 51, 100, 1)
                                                              : IpAddress::Parse("2001:db8::1")};
  std::vector<std::uint16_t> ports = {80};
  const capture::FamilyRules& all = rules.rules.family(family);
  for (const capture::TableRules& table : all.tables) {
    for (const capture::Chain& chain : table.chains) {
      for (const capture::Rule& rule : chain.rules) AddSamples(rule, addresses, ports);
    }
  }
  capture::Packet packet{
      .source = family == Family::kIpv4 ? IpAddress::V4(192, 0, 2, 2) : IpAddress::Parse("fd00::2"),
      .destination = addresses.front(),
      .out_interface = "eth0",
      .uid = uid,
      .gid = gid};
  for (const IpAddress& address : addresses) {
    if (address.IsLoopback()) continue;
    packet.destination = address;
    for (const std::uint16_t port : ports) {
      packet.destination_port = port;
      const auto evaluation = capture::Evaluate(all, capture::Hook::kOutput, packet);
      if (std::holds_alternative<capture::RedirectedTo>(evaluation.verdict)) return true;
    }
  }
  return false;
}

std::vector<Finding> Judge(const Facts& facts) {
  const InForce rules = FindInForce(facts);
  Findings out;
  CheckRules(facts, rules, out);
  CheckCapabilities(facts, rules, out);
  CheckModules(facts, rules, out);
  CheckBackendsInUse(facts, rules, out);
  CheckForeignRules(facts, out);
  CheckListeners(facts, rules, out);
  CheckApplicationUid(facts, rules, out);
  CheckResolvers(facts, rules, out);
  CheckAddresses(facts, rules, out);
  CheckIpv6OnLo(facts, rules, out);
  CheckRpFilter(facts, rules, out);
  CheckPolicyRouting(facts, rules, out);
  CheckConntrack(facts, out);
  CheckLock(facts, out);
  CheckDescriptors(facts, rules, out);
  CheckPipes(facts, out);
  SortWorstFirst(out);
  return out;
}

}  // namespace sluice::doctor
