// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <utility>

#include "base/pod_contract.h"
#include "capture/capture_rules.h"
#include "capture/rule_builder.h"

// TPROXY hands a packet to the proxy's socket without rewriting it; marks route the packet there,
// and identify the proxy's connections to the application, which use the client's address.
namespace sluice::capture {
namespace {

constexpr Protocol kTcp = Protocol::kTcp;

// Traffic that must not be captured again. These rules come first, in this order.
void AddLoopGuards(const CaptureConfig& config, Sequence& inbound) {
  const TproxyMarks marks = MarksOf(config);
  // The proxy's connection to the application has the mark: save it to the connection, so that the
  // application's answers can be recognized (see BuildOutput). It comes through lo. A packet from
  // outside has the mark only if the other backend's rules, present while one backend replaces the
  // other, have just sent it to the listener.
  inbound.Add({.in_interface = Is("lo"),
               .protocol = kTcp,
               .matches = {MarkMatch{Is(marks.inbound)}},
               .target = SaveConnmark{marks.inbound.mask}});
  inbound.Add({.protocol = kTcp, .matches = {MarkMatch{Is(marks.inbound)}}, .target = Return{}});
  inbound.Add(
      {.source = Is(Cidr(pod::PassthroughSource(inbound.family()), AddressBits(inbound.family()))),
       .in_interface = Is("lo"),
       .protocol = kTcp,
       .target = Return{}});
  // On lo only the proxy's calls to its own pod are inbound.
  inbound.Add({.in_interface = Is("lo"),
               .protocol = kTcp,
               .matches = {MarkMatch{Not(marks.outbound)}},
               .target = Return{}});
}

// An established connection goes to its socket; a new one to the listener.
void AddCapture(Sequence& inbound, const std::optional<PortRange>& ports) {
  Rule known{.protocol = kTcp, .target = Jump{"ISTIO_DIVERT"}};
  Rule fresh{.protocol = kTcp, .target = Jump{"ISTIO_TPROXY"}};
  if (ports) {
    known.matches = {PortMatch{.destination = Is(*ports)}};
    fresh.matches = known.matches;
  }
  known.matches.push_back(ConntrackStateMatch{.established = true, .related = true});
  inbound.Add(std::move(known));
  inbound.Add(std::move(fresh));
}

void AddInboundPorts(const CaptureConfig& config, Sequence& inbound) {
  if (config.inbound_ports.all) {
    for (const PortRange& ports : config.inbound_exclude_ports) {
      inbound.Add(ToPorts(kTcp, ports, Return{}));
    }
    AddCapture(inbound, std::nullopt);
  } else {
    for (const PortRange& ports : config.inbound_ports.ports) AddCapture(inbound, ports);
  }
}

void AddDivert(const CaptureConfig& config, TableBuilder& mangle) {
  const Mark mark = MarksOf(config).inbound;
  Sequence divert(mangle, "ISTIO_DIVERT");
  divert.Add({.target = SetMark{mark}});
  divert.Add({.target = Accept{}});
  Sequence tproxy(mangle, "ISTIO_TPROXY");
  tproxy.Add({.destination = Not(LoopbackRange(config, mangle.family())),
              .protocol = kTcp,
              .target = Tproxy{config.inbound_port, mark}});
}

void BuildOutput(const CaptureConfig& config, TableBuilder& mangle) {
  const TproxyMarks marks = MarksOf(config);
  mangle.JumpFrom(Hook::kOutput, {.protocol = kTcp, .target = Jump{"ISTIO_OUTPUT"}});
  Sequence output(mangle, "ISTIO_OUTPUT");
  for (const std::string& name : config.exclude_interfaces) {
    output.Add({.out_interface = Is(name), .target = Return{}});
  }
  // From the proxy to the application; the proxy has set the mark.
  output.Add({.out_interface = Is("lo"),
              .protocol = kTcp,
              .matches = {MarkMatch{Is(marks.inbound)}},
              .target = Return{}});
  for (const OwnerMatch& owner : ProxyOwners(config)) {
    output.Add({.destination = Not(LoopbackRange(config, mangle.family())),
                .out_interface = Is("lo"),
                .protocol = kTcp,
                .matches = {owner},
                .target = SetMark{marks.outbound}});
  }
  // The application's answers to a client address: back to the proxy, by the connection mark.
  output.Add({.protocol = kTcp,
              .matches = {ConnmarkMatch{Is(marks.inbound)}},
              .target = RestoreConnmark{marks.inbound.mask}});
}

}  // namespace

TableRules BuildMangle(const CaptureConfig& config, Family family) {
  TableBuilder mangle(Table::kMangle, family);
  const bool tproxy = config.mode == InterceptionMode::kTproxy && !config.inbound_ports.empty();
  if (!tproxy && !config.drop_invalid) return mangle.Take();

  Rule entry{.target = Jump{"ISTIO_INBOUND"}};
  // Packets of any protocol can be invalid; capture itself is about TCP.
  if (!config.drop_invalid) entry.protocol = kTcp;
  mangle.JumpFrom(Hook::kPrerouting, std::move(entry));
  Sequence inbound(mangle, "ISTIO_INBOUND");
  for (const std::string& name : config.exclude_interfaces) {
    inbound.Add({.in_interface = Is(name), .target = Return{}});
  }
  if (config.drop_invalid) {
    inbound.Add({.matches = {ConntrackStateMatch{.invalid = true}}, .target = Jump{"ISTIO_DROP"}});
    mangle.In("ISTIO_DROP").rules.push_back({.target = Drop{}});
  }
  if (!tproxy) return mangle.Take();

  for (const std::string& name : config.virt_interfaces) {
    inbound.Add({.in_interface = Is(name), .target = Return{}});
  }
  AddLoopGuards(config, inbound);
  inbound.ReturnForLinkLocal();
  inbound.Only(true, config.include_interfaces, "ISTIO_INBOUND_INCLUDED");
  inbound.ReturnFor(OfFamily(config.inbound_exclude_ranges, family), RangeOf::kSource,
                    "ISTIO_INBOUND_EXCLUDE", "ISTIO_INBOUND_PORTS");
  AddInboundPorts(config, inbound);
  AddDivert(config, mangle);
  BuildOutput(config, mangle);
  return mangle.Take();
}

}  // namespace sluice::capture
