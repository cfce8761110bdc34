// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "capture/rule.h"

// What the kernel would do with a packet, computed from values. Pure: for tests, and to explain why
// a connection is or is not captured.
namespace sluice::capture {

enum class ConntrackState : std::uint8_t { kNew, kEstablished, kRelated, kInvalid };

// A packet as rules see it. Ports and marks are in host byte order.
struct Packet {
  IpAddress source;
  IpAddress destination;
  Protocol protocol = Protocol::kTcp;
  std::uint16_t source_port = 40000;
  std::uint16_t destination_port = 0;
  std::string in_interface = {};   // in PREROUTING
  std::string out_interface = {};  // in OUTPUT
  // Of the sending socket; none in PREROUTING.
  std::optional<std::uint32_t> uid = {};
  std::optional<std::uint32_t> gid = {};
  Mark mark = {};  // the mask is ignored
  Mark connmark = {};
  ConntrackState state = ConntrackState::kNew;
  // Whether a socket here takes it, as -m socket --nowildcard finds it.
  bool has_taker = true;
};

// Whether `packet` meets all conditions of `rule`.
bool RuleMatches(const Rule& rule, const Packet& packet);

// Where the packet ends up.
struct Passes {  // as if there were no Sluice rules
  friend auto operator<=>(const Passes&, const Passes&) = default;
};
struct RedirectedTo {
  std::uint16_t port = 0;
  friend auto operator<=>(const RedirectedTo&, const RedirectedTo&) = default;
};
struct TproxiedTo {
  std::uint16_t port = 0;
  friend auto operator<=>(const TproxiedTo&, const TproxiedTo&) = default;
};
struct Dropped {
  friend auto operator<=>(const Dropped&, const Dropped&) = default;
};
using Verdict = std::variant<Passes, RedirectedTo, TproxiedTo, Dropped>;

// "direct", "redirected to port 15001", "refused" (for pod::kRefusedPort), "TPROXY to port 15006",
// "dropped".
std::string ToText(const Verdict& verdict);
std::ostream& operator<<(std::ostream& out, const Verdict& verdict);

// A rule that matched.
struct Matched {
  Table table = Table::kNat;
  std::string chain;
  std::size_t index = 0;  // from 0
  Rule rule;

  // "nat ISTIO_OUTPUT rule 3: -o lo -j RETURN"; rules count from 1, as iptables -L does.
  std::string ToString() const;
};

struct Evaluation {
  Verdict verdict;
  // Every rule that matched, in order: the last one decided, unless the packet just passes.
  std::vector<Matched> path;
  // The packet as it leaves: rules may have set its marks.
  Packet packet;
  std::uint16_t zone = 0;  // of conntrack
  // How many rules were checked.
  std::size_t tested = 0;
};

// `rules` must hold every chain that its rules lead to; the packet must be of their family. The nat
// table sees only new connections, as in the kernel.
Evaluation Evaluate(const FamilyRules& rules, Hook hook, Packet packet);

}  // namespace sluice::capture
