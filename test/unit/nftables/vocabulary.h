// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "capture/rule.h"

namespace sluice::nftables {

// Every condition and every target, in tables where the kernel allows them, in the form that
// Compile returns. Jumps lead to ISTIO_B.
inline std::vector<std::pair<capture::Table, capture::Rule>> Vocabulary(Family family) {
  using capture::Is;
  using capture::Not;
  using capture::Protocol;
  using capture::Rule;
  using capture::Table;
  const bool v4 = family == Family::kIpv4;
  std::vector<std::pair<Table, Rule>> out;
  const auto add = [&out](Rule rule, Table table = Table::kNat) {
    out.emplace_back(table, std::move(rule));
  };
  const int bits = AddressBits(family);
  const IpAddress address = IpAddress::Parse(v4 ? "203.0.113.255" : "2001:db8:ffff::ff");
  for (int length = 1; length <= bits; ++length) {
    add({.source = Is(Cidr(address, length))});
    add({.destination = Not(Cidr(address, length))});
  }
  add({.source = Not(Cidr(IpAddress::Parse(v4 ? "0.0.0.0" : "::"), 0))});
  for (const std::string& name : {std::string("lo"), std::string("eth+"), std::string("e+"),
                                  std::string("abcdefghijklmno"), std::string("abcdefghijklmn+")}) {
    for (const bool negated : {false, true}) {
      add({.in_interface = capture::Condition<std::string>{name, negated}}, Table::kMangle);
      add({.out_interface = capture::Condition<std::string>{name, negated}}, Table::kRaw);
    }
  }
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    add({.protocol = protocol});
    for (const PortRange& ports : {PortRange{0, 0}, PortRange{80, 80}, PortRange{1, 65535},
                                   PortRange{65535, 65535}, PortRange{256, 511}}) {
      for (const bool negated : {false, true}) {
        const capture::Condition<PortRange> condition{ports, negated};
        add({.protocol = protocol, .matches = {capture::PortMatch{.source = condition}}});
        add({.protocol = protocol, .matches = {capture::PortMatch{.destination = condition}}});
      }
    }
  }
  for (const std::uint32_t id : {0U, 1337U, 0xfffffffeU}) {
    add({.matches = {capture::OwnerMatch{.uid = Is(id)}}});
    add({.matches = {capture::OwnerMatch{.gid = Is(id)}}});
  }
  for (unsigned states = 1; states < 8; ++states) {
    add({.matches = {capture::ConntrackStateMatch{.invalid = (states & 1U) != 0,
                                                  .established = (states & 2U) != 0,
                                                  .related = (states & 4U) != 0}}});
  }
  for (const capture::Mark& mark :
       {capture::Mark{0x539, 0x7ff}, capture::Mark{0xffffffff}, capture::Mark{0}}) {
    for (const bool negated : {false, true}) {
      const capture::Condition<capture::Mark> condition{mark, negated};
      add({.matches = {capture::MarkMatch{condition}}});
      add({.matches = {capture::ConnmarkMatch{condition}}});
    }
    add({.target = capture::SetMark{mark}}, Table::kMangle);
    add({.matches = {capture::MarkMatch{Is(mark)}}, .target = capture::SaveConnmark{mark.mask}},
        Table::kMangle);
    add({.matches = {capture::ConnmarkMatch{Is(mark)}},
         .target = capture::RestoreConnmark{mark.mask}},
        Table::kMangle);
    add({.protocol = Protocol::kTcp, .target = capture::Tproxy{15006, mark}}, Table::kMangle);
  }
  add({.protocol = Protocol::kTcp, .matches = {capture::SocketMatch{}}});
  add({.target = capture::Accept{}});
  add({.target = capture::Drop{}}, Table::kMangle);
  add({.target = capture::Return{}});
  add({.target = capture::Jump{"ISTIO_B"}});
  add({.target = capture::Goto{"ISTIO_B"}});
  for (const std::uint16_t port : std::initializer_list<std::uint16_t>{0, 1, 15001, 65535}) {
    add({.protocol = Protocol::kTcp, .target = capture::Redirect{port}});
  }
  for (const std::uint16_t zone : std::initializer_list<std::uint16_t>{1, 2, 65535}) {
    add({.target = capture::CtZone{zone}}, Table::kRaw);
  }
  // Lists, and everything together.
  for (const auto& texts :
       v4 ? std::vector<std::vector<const char*>>{{"0.0.0.0/1", "192.0.0.0/2"},
                                                  {"10.0.0.0/8", "11.0.0.0/9"},
                                                  {"1.2.3.4/32", "1.2.3.6/32"}}
          : std::vector<std::vector<const char*>>{{"::/1", "c000::/2"},
                                                  {"fd00::/8", "fe00::/9"},
                                                  {"2001:db8::/128", "2001:db8::2/128"}}) {
    capture::RangeList list;
    for (const char* const text : texts) list.ranges.push_back(Cidr::Parse(text));
    add({.list = list});
    list.of = capture::RangeOf::kSource;
    add({.destination = Is(Cidr(address, 20)),
         .list = list,
         .in_interface = Is("eth0"),
         .protocol = Protocol::kUdp,
         .matches = {capture::PortMatch{.source = Is(PortRange{1, 2})},
                     capture::PortMatch{.destination = Not(PortRange{3, 4})},
                     capture::ConntrackStateMatch{.established = true}},
         .target = capture::Goto{"ISTIO_B"}});
  }
  return out;
}

}  // namespace sluice::nftables
