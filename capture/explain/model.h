// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/cidr.h"
#include "base/ip_address.h"
#include "base/port_range.h"
#include "capture/rule.h"

// Netfilter as a packet meets it, whoever wrote the rules: base chains by hook and priority, with
// all chains that they lead to. A backend's reader fills it. What Sluice does not know stays in it
// as unknown, and is never left out.
namespace sluice::capture::explain {

// linux/netfilter.h: NF_INET_PRE_ROUTING and so on.
enum class HookPoint : std::uint8_t { kPrerouting, kInput, kForward, kOutput, kPostrouting };
std::string_view Name(HookPoint hook);

// --- conditions ---
struct AddressTest {
  bool of_source = false;
  bool negated = false;
  std::vector<Cidr> ranges = {};  // any of them
};
struct InterfaceTest {
  bool in = false;
  bool negated = false;
  std::string pattern = {};  // '+' at the end stands for any ending
};
struct ProtocolTest {
  std::uint8_t protocol = 0;  // IANA
  bool negated = false;
};
struct PortTest {
  enum class Of : std::uint8_t { kSource, kDestination, kEither };
  Of of = Of::kDestination;
  bool negated = false;
  std::vector<PortRange> ranges = {};
};
// Of the socket that sends. A packet without one meets a negated condition only.
struct OwnerTest {
  bool of_group = false;
  bool negated = false;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};
// -m owner --socket-exists
struct HasOwnerTest {
  bool negated = false;
};
struct MarkTest {
  bool of_connection = false;
  bool negated = false;
  Mark mark = {};
};
// Bits of what conntrack says.
enum StateBit : std::uint16_t {
  kStateNew = 1,
  kStateEstablished = 2,
  kStateRelated = 4,
  kStateInvalid = 8,
  kStateUntracked = 16,
  kStateDnat = 32,
  kStateSnat = 64,
};
struct StateTest {
  std::uint16_t states = 0;  // any of them
  bool negated = false;
};
struct TcpFlagsTest {
  std::uint8_t mask = 0;
  std::uint8_t set = 0;
  bool negated = false;
};
// -m addrtype: bits of RTN_UNICAST and so on (linux/rtnetlink.h), 1 << type.
struct AddressTypeTest {
  bool of_source = false;
  bool negated = false;
  std::uint16_t types = 0;
};
// What no packet of TCP or UDP meets, such as a type of ICMP.
struct NeverTest {};
struct UnknownTest {
  std::string what;  // "-m set"
};
using Test =
    std::variant<AddressTest, InterfaceTest, ProtocolTest, PortTest, OwnerTest, HasOwnerTest,
                 MarkTest, StateTest, TcpFlagsTest, AddressTypeTest, NeverTest, UnknownTest>;

// --- what is done: the targets of capture/rule.h, and those that only others write ---
struct GoOn {};  // counts, logs
struct Reject {};
// -j DNAT: either part may be missing. `random` for several addresses or ports.
struct ChangeDestination {
  std::optional<IpAddress> address = {};
  std::optional<std::uint16_t> port = {};
  bool random = false;
};
// -j REDIRECT; no port keeps the packet's.
struct RedirectToSelf {
  std::optional<std::uint16_t> port = {};
  bool random = false;
};
// -j SNAT, MASQUERADE; nobody looks at what the source becomes.
struct ChangeSource {};
struct NoTrack {};
// -j MARK, CONNMARK --set-mark: (old & ~mask) ^ value.
struct XorMark {
  bool of_connection = false;
  std::uint32_t value = 0;
  std::uint32_t mask = 0;
};
// -j CONNMARK --save-mark, --restore-mark
struct CopyMark {
  bool to_connection = false;
  std::uint32_t from_mask = 0;
  std::uint32_t to_mask = 0;
};
struct UnknownAction {
  std::string what;  // "-j NFQUEUE"
};
using Action =
    std::variant<GoOn, Accept, Drop, Reject, Return, Jump, Goto, RedirectToSelf, ChangeDestination,
                 ChangeSource, Tproxy, XorMark, CopyMark, CtZone, NoTrack, UnknownAction>;

struct ModelRule {
  std::vector<Test> tests = {};
  Action action = GoOn{};
  std::string text = {};            // as the backend's own tool writes it
  std::uint64_t packets = 0;        // its counter
  std::optional<Rule> known = {};   // as Sluice would have written it
  std::string flag = {};            // of a Sluice rule: "--proxy-uid=1337"; empty: none
  std::string why = {};             // of a Sluice rule, for people
  std::size_t leads_to = kNowhere;  // the chain of a jump or goto, an index into the table

  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);
};

struct BaseHook {
  HookPoint hook = HookPoint::kPrerouting;
  int priority = 0;
  bool nat = false;           // sees the first packet of a connection only
  bool policy_drops = false;  // at the end of the chain
};

struct ModelChain {
  std::string name;
  std::vector<ModelRule> rules = {};
  std::optional<BaseHook> base = {};
  bool ours = false;
};

struct ModelTable {
  std::string backend;  // "iptables"
  Family family = Family::kIpv4;
  std::string name;
  std::vector<ModelChain> chains = {};

  const ModelChain* Find(std::string_view chain) const;
};

// A base chain that is there, and whose rules could not be read.
struct UnreadChain {
  std::string backend;
  Family family = Family::kIpv4;
  std::string table;
  std::string chain;
  HookPoint hook = HookPoint::kPrerouting;
  int priority = 0;
};

struct Model {
  std::vector<ModelTable> tables;
  std::vector<UnreadChain> unread;
  // What could not be looked at, in words.
  std::vector<std::string> notes;
  // Whether TPROXY's marks have the route that they need.
  bool planned = false;
};

// The priorities of x_tables' tables (linux/netfilter_ipv4.h, NF_IP_PRI_*), and which built-in
// chains each has: "raw", "mangle", "nat", "filter", "security". Nothing for other names.
std::optional<BaseHook> BuiltinHook(std::string_view table, std::string_view chain);

// A Sluice rule as the model holds it.
ModelRule ModelOf(const Rule& rule);

// What would be installed. `rules` are as the backend holds them (Backend::Compile).
Model ModelOf(const RuleSet& rules, std::string_view backend);

// To be called when all tables are there: finds what jumps lead to, and fills `flag` and `why` of
// our rules.
void Finish(Model& model);

}  // namespace sluice::capture::explain
