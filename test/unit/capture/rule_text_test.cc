// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/rule_text.h"

#include <gtest/gtest.h>

namespace sluice::capture {
namespace {

struct TextCase {
  Rule rule;
  std::string text;
};

constexpr PortRange kWeb{80, 80};
constexpr PortRange kMany{8000, 8999};
constexpr Mark kMark{0x539, 0x7ff};

// Each line is what iptables-legacy-save of 1.8.9 writes for the rule.
const std::vector<TextCase>& Cases() {
  static const std::vector<TextCase> cases = {
      {{}, "-j RETURN"},
      {{.source = Is(Cidr::Parse("10.0.0.0/8")), .target = Accept{}}, "-s 10.0.0.0/8 -j ACCEPT"},
      {{.source = Not(Cidr::Parse("10.1.2.3")), .destination = Is(Cidr::Parse("::6"))},
       "! -s 10.1.2.3/32 -d ::6/128 -j RETURN"},
      {{.destination = Not(Cidr::Parse("127.0.0.1")),
        .in_interface = Is("eth+"),
        .out_interface = Not(std::string("lo")),
        .target = Drop{}},
       "! -d 127.0.0.1/32 -i eth+ ! -o lo -j DROP"},
      {{.protocol = Protocol::kTcp, .target = Redirect{15001}},
       "-p tcp -j REDIRECT --to-ports 15001"},
      {{.protocol = Protocol::kTcp, .matches = {PortMatch{.destination = Is(kWeb)}}},
       "-p tcp -m tcp --dport 80 -j RETURN"},
      {{.protocol = Protocol::kUdp,
        .matches = {PortMatch{.source = Not(kWeb), .destination = Not(kMany)}}},
       "-p udp -m udp ! --sport 80 ! --dport 8000:8999 -j RETURN"},
      {{.matches = {OwnerMatch{.uid = Is(1337U)}}}, "-m owner --uid-owner 1337 -j RETURN"},
      {{.matches = {OwnerMatch{.uid = Not(0U), .gid = Not(4294967294U)}}},
       "-m owner ! --uid-owner 0 ! --gid-owner 4294967294 -j RETURN"},
      {{.matches = {ConntrackStateMatch{.invalid = true}}},
       "-m conntrack --ctstate INVALID -j RETURN"},
      {{.matches = {ConntrackStateMatch{.established = true, .related = true}}},
       "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"},
      {{.matches = {MarkMatch{Is(kMark)}, ConnmarkMatch{Not(Mark{0x539})}}},
       "-m mark --mark 0x539/0x7ff -m connmark ! --mark 0x539 -j RETURN"},
      {{.target = Jump{"ISTIO_OUTPUT"}}, "-j ISTIO_OUTPUT"},
      {{.target = Goto{"ISTIO_OUTPUT"}}, "-g ISTIO_OUTPUT"},
      {{.protocol = Protocol::kTcp, .target = Tproxy{15006, kMark}},
       "-p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x539/0x7ff"},
      {{.target = SetMark{kMark}}, "-j MARK --set-xmark 0x539/0x7ff"},
      {{.target = SaveConnmark{0x7ff}}, "-j CONNMARK --save-mark --nfmask 0x7ff --ctmask 0x7ff"},
      {{.target = RestoreConnmark{}},
       "-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"},
      {{.target = CtZone{2}}, "-j CT --zone 2"},
  };
  return cases;
}

TEST(RuleText, IsWhatIptablesSaveWrites) {
  for (const TextCase& each : Cases()) EXPECT_EQ(ToText(each.rule), each.text);
}

}  // namespace
}  // namespace sluice::capture
