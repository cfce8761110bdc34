// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/cidr.h"
#include "base/ip_address.h"
#include "base/port_range.h"

// Netfilter objects as values: comparable, printable, independent of the kernel's layout.
namespace sluice::capture {

enum class Table : std::uint8_t { kRaw, kMangle, kNat };

// In the order in which a packet passes through them.
inline constexpr Table kTables[] = {Table::kRaw, Table::kMangle, Table::kNat};
inline constexpr Family kFamilies[] = {Family::kIpv4, Family::kIpv6};

// "raw", "mangle", "nat".
std::string_view Name(Table table);

// Built-in chains that Sluice jumps from.
enum class Hook : std::uint8_t { kPrerouting, kOutput };

// "PREROUTING", "OUTPUT".
std::string_view Name(Hook hook);

enum class Protocol : std::uint8_t { kTcp = 6, kUdp = 17 };  // IANA protocol numbers

// "tcp", "udp".
std::string_view Name(Protocol protocol);

// A condition that '!' can negate.
template <typename T>
struct Condition {
  T value;
  bool negated = false;

  friend auto operator<=>(const Condition&, const Condition&) = default;
};

template <typename T>
Condition<T> Is(T value) {
  return {std::move(value), false};
}
template <typename T>
Condition<T> Not(T value) {
  return {std::move(value), true};
}
inline Condition<std::string> Is(const char* value) { return {value, false}; }

// -m tcp / -m udp, of the rule's protocol.
struct PortMatch {
  std::optional<Condition<PortRange>> source = {};
  std::optional<Condition<PortRange>> destination = {};
  friend auto operator<=>(const PortMatch&, const PortMatch&) = default;
};

// -m owner: the uid and primary gid of the sending socket. A packet without a socket matches only a
// negated condition.
struct OwnerMatch {
  std::optional<Condition<std::uint32_t>> uid = {};
  std::optional<Condition<std::uint32_t>> gid = {};
  friend auto operator<=>(const OwnerMatch&, const OwnerMatch&) = default;
};

// -m conntrack --ctstate: any of the given states.
struct ConntrackStateMatch {
  bool invalid = false;
  bool established = false;
  bool related = false;
  friend auto operator<=>(const ConntrackStateMatch&, const ConntrackStateMatch&) = default;
};

// Bits of a packet's or connection's mark: bits outside `mask` are neither compared nor
// changed.
struct Mark {
  std::uint32_t value = 0;
  std::uint32_t mask = 0xffffffff;
  friend auto operator<=>(const Mark&, const Mark&) = default;
};

// -m mark
struct MarkMatch {
  Condition<Mark> mark;
  friend auto operator<=>(const MarkMatch&, const MarkMatch&) = default;
};

// -m connmark
struct ConnmarkMatch {
  Condition<Mark> mark;
  friend auto operator<=>(const ConnmarkMatch&, const ConnmarkMatch&) = default;
};

// -m socket --nowildcard: a socket of this network namespace takes the packet, whether it listens
// on its address or on all. In PREROUTING only.
struct SocketMatch {
  friend auto operator<=>(const SocketMatch&, const SocketMatch&) = default;
};

using Match =
    std::variant<PortMatch, OwnerMatch, ConntrackStateMatch, MarkMatch, ConnmarkMatch, SocketMatch>;

// Which address a list of ranges is compared with.
enum class RangeOf : std::uint8_t { kSource, kDestination };

// The source or destination is in one of `ranges`, which are of one family, sorted and disjoint. It
// stays a list here: each backend compiles it in its own way (a tree of chains, an interval set).
struct RangeList {
  RangeOf of = RangeOf::kDestination;
  std::vector<Cidr> ranges;
  // The name of the chain or set that a backend makes of a long list.
  std::string name;
  // The chain for the rules after this one, where a backend must move them; empty when this is the
  // last rule of its chain.
  std::string rest;
  friend auto operator<=>(const RangeList&, const RangeList&) = default;
};

struct Accept {
  friend auto operator<=>(const Accept&, const Accept&) = default;
};
struct Drop {
  friend auto operator<=>(const Drop&, const Drop&) = default;
};
// Back to the rule after the jump; at the end of a built-in chain, its policy.
struct Return {
  friend auto operator<=>(const Return&, const Return&) = default;
};
// -j CHAIN
struct Jump {
  std::string chain;
  friend auto operator<=>(const Jump&, const Jump&) = default;
};
// -g CHAIN: a jump without a return address; RETURN there goes back to where this chain was
// called.
struct Goto {
  std::string chain;
  friend auto operator<=>(const Goto&, const Goto&) = default;
};
// -j REDIRECT --to-ports
struct Redirect {
  std::uint16_t port = 0;
  friend auto operator<=>(const Redirect&, const Redirect&) = default;
};
// -j TPROXY: to a transparent socket on `port` of any address, marking the packet.
struct Tproxy {
  std::uint16_t port = 0;
  Mark mark;
  friend auto operator<=>(const Tproxy&, const Tproxy&) = default;
};
// -j MARK: sets the bits of the mask to those of the value.
struct SetMark {
  Mark mark;
  friend auto operator<=>(const SetMark&, const SetMark&) = default;
};
// -j CONNMARK --save-mark: copies the masked bits of the packet's mark to the connection's.
struct SaveConnmark {
  std::uint32_t mask = 0xffffffff;
  friend auto operator<=>(const SaveConnmark&, const SaveConnmark&) = default;
};
// -j CONNMARK --restore-mark: the reverse.
struct RestoreConnmark {
  std::uint32_t mask = 0xffffffff;
  friend auto operator<=>(const RestoreConnmark&, const RestoreConnmark&) = default;
};
// -j CT --zone; a packet that already has a zone keeps it.
struct CtZone {
  std::uint16_t zone = 0;
  friend auto operator<=>(const CtZone&, const CtZone&) = default;
};

using Target = std::variant<Accept, Drop, Return, Jump, Goto, Redirect, Tproxy, SetMark,
                            SaveConnmark, RestoreConnmark, CtZone>;

// One rule: if all conditions hold, the target applies. Interface names may end in '+'. The members
// are in the order of iptables-save.
struct Rule {
  std::optional<Condition<Cidr>> source = {};
  std::optional<Condition<Cidr>> destination = {};
  std::optional<RangeList> list = {};
  std::optional<Condition<std::string>> in_interface = {};
  std::optional<Condition<std::string>> out_interface = {};
  std::optional<Protocol> protocol = {};
  std::vector<Match> matches = {};
  Target target = Return{};

  friend auto operator<=>(const Rule&, const Rule&) = default;
};

// As iptables-save writes it after "-A CHAIN ".
std::ostream& operator<<(std::ostream& out, const Rule& rule);

struct Chain {
  std::string name;
  std::vector<Rule> rules;

  friend auto operator<=>(const Chain&, const Chain&) = default;
};

// The rule by which a built-in chain enters a Sluice chain. Its target is a Jump.
struct EntryJump {
  Hook hook = Hook::kPrerouting;
  Rule rule;

  friend auto operator<=>(const EntryJump&, const EntryJump&) = default;
};

// The Sluice rules in one table of one family.
struct TableRules {
  Table table = Table::kNat;
  std::vector<EntryJump> jumps = {};
  std::vector<Chain> chains = {};

  bool empty() const { return jumps.empty() && chains.empty(); }
  friend auto operator<=>(const TableRules&, const TableRules&) = default;
};

// One per table, in the order of kTables; unused tables are empty.
struct FamilyRules {
  Family family = Family::kIpv4;
  std::vector<TableRules> tables = {};

  bool empty() const;
  const TableRules& table(Table table) const;
  friend auto operator<=>(const FamilyRules&, const FamilyRules&) = default;
};

struct RuleSet {
  FamilyRules v4;
  FamilyRules v6;

  const FamilyRules& family(Family family) const { return family == Family::kIpv4 ? v4 : v6; }
  friend auto operator<=>(const RuleSet&, const RuleSet&) = default;
};

// Ownership by prefix: every chain whose name begins with it is Sluice's, and no other is.
inline constexpr std::string_view kOwnedPrefix = "ISTIO_";
inline bool IsOwnedChain(std::string_view name) { return name.starts_with(kOwnedPrefix); }

}  // namespace sluice::capture
