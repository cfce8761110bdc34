// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/cidr.h"
#include "base/ip_address.h"
#include "base/port_range.h"
#include "capture/rule.h"

// What rules match and what they do, no matter who wrote them.
namespace sluice::capture::explain {

// --- conditions ---
struct AddressTest {
  bool of_source = false;
  bool negated = false;
  std::vector<Cidr> ranges = {};  // any of them
};
struct InterfaceTest {
  bool in = false;
  bool negated = false;
  std::string pattern = {};  // a '+' at the end matches any ending
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
// Of the sending socket. A packet without a socket matches only a negated condition.
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
// -m socket --nowildcard
struct SocketTest {
  bool negated = false;
};
struct MarkTest {
  bool of_connection = false;
  bool negated = false;
  Mark mark = {};
};
// Bits of the conntrack state.
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
// A condition that no TCP or UDP packet meets, such as an ICMP type.
struct NeverTest {};
struct UnknownTest {
  std::string what;  // "-m set"
};
using Test = std::variant<AddressTest, InterfaceTest, ProtocolTest, PortTest, OwnerTest,
                          HasOwnerTest, SocketTest, MarkTest, StateTest, TcpFlagsTest,
                          AddressTypeTest, NeverTest, UnknownTest>;

// --- actions: the targets of capture/rule.h, and those that only others use ---
struct GoOn {};  // counts, logs
struct Reject {};
// -j DNAT: either part may be missing. `random` for several addresses or ports.
struct ChangeDestination {
  std::optional<IpAddress> address = {};
  std::optional<std::uint16_t> port = {};
  bool random = false;
};
// -j REDIRECT; without a port it keeps the packet's.
struct RedirectToSelf {
  std::optional<std::uint16_t> port = {};
  bool random = false;
};
// -j SNAT, MASQUERADE; the new source is not modelled.
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

// An x_tables match or target, in a rule of either backend.
struct Extension {
  std::vector<Test> tests = {};
  Action action = GoOn{};
  std::string text = {};  // "-m multiport --dports 80", "-j REDIRECT --to-ports 15001"
};

}  // namespace sluice::capture::explain
