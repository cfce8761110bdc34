// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "base/socket_address.h"
#include "capture/explain/model.h"

// Walks one connection through the rules of a Model, hook by hook, and base chain by base chain in
// the order of priority, as netfilter does (net/netfilter/core.c, nf_nat_core.c, route.c of both
// families). Pure, except for the questions to a Host.
namespace sluice::capture::explain {

// --- questions to the host ---
struct RouteQuery {
  IpAddress to;
  std::optional<IpAddress> from = {};
  std::string in_interface = {};  // the incoming interface, if routing depends on it
  bool arriving = false;          // not a local packet
  std::uint32_t mark = 0;
  std::optional<std::uint32_t> uid = {};

  friend auto operator<=>(const RouteQuery&, const RouteQuery&) = default;
};
struct RouteAnswer {
  enum class Kind : std::uint8_t {
    kLocal,      // to this host
    kForward,    // out by `device`
    kNone,       // no route: connect(2) fails at once
    kMartian,    // the source is not allowed on that interface (rp_filter)
    kBroadcast,  // or multicast
    kUnknown     // cannot be determined
  };
  Kind kind = Kind::kUnknown;
  std::string device = {};               // the outgoing interface; "lo" when local
  std::optional<IpAddress> source = {};  // the source that the kernel would choose
  std::string note = {};                 // what had to be assumed
};

// Whether a socket here takes the first packet of a connection that arrives.
struct SocketQuery {
  SocketAddress to;
  Protocol protocol = Protocol::kTcp;
  std::string in_interface = {};
};

class Host {
 public:
  virtual ~Host() = default;
  virtual RouteAnswer Route(const RouteQuery& query) = 0;
  // The address to which REDIRECT sends packets from that interface; nothing when it has none.
  virtual std::optional<IpAddress> FirstAddress(const std::string& interface, Family family) = 0;
  // Nothing if not known.
  virtual std::optional<int> InterfaceIndex(const std::string& /*name*/) { return {}; }
  // Nothing if not known.
  virtual std::optional<bool> Takes(const SocketQuery& /*query*/) { return {}; }
};

// --- the question ---
struct Connection {
  SocketAddress to;
  std::optional<IpAddress> from = {};
  std::uint16_t from_port = 40000;
  bool from_port_known = false;           // otherwise any ephemeral port
  std::optional<std::uint32_t> uid = {};  // outbound: of the sending socket
  std::optional<std::uint32_t> gid = {};
  std::string in_interface = {};  // not empty: inbound
  Protocol protocol = Protocol::kTcp;
  std::uint32_t mark = 0;
  std::uint16_t state = kStateNew;  // one StateBit

  bool inbound() const { return !in_interface.empty(); }
};

// --- the answer ---
enum class Landing : std::uint8_t {
  kOutbound,  // the proxy's outbound listener
  kInbound,   // the proxy's inbound listener
  kDns,       // the DNS listener
  kDirect,    // its original destination
  kDropped,
  kRefused,
  kUnknown
};
// "outbound", "inbound", ...
std::string_view Name(Landing landing);

// A rule that matched, or the policy of a base chain.
struct PathEntry {
  const ModelTable* table = nullptr;
  const ModelChain* chain = nullptr;
  std::size_t rule = 0;    // from 0
  bool policy = false;     // the end of a base chain with policy drop
  bool uncertain = false;  // it has an unknown condition or target
  HookPoint hook = HookPoint::kPrerouting;
  int place = 0;  // the priority at which the base chain runs
  // The cause of the uncertainty, if there is no rule to show.
  const UnreadChain* unread = nullptr;

  // nullptr for a policy.
  const ModelRule* get() const { return policy || unread ? nullptr : &chain->rules[rule]; }
};

struct Outcome {
  Landing landing = Landing::kDirect;
  std::uint16_t port = 0;  // of the listener
  std::optional<PathEntry> decided = {};
  std::vector<PathEntry> path = {};
  std::vector<std::string> notes = {};
  // What is not known about it, besides unknown rules.
  std::vector<std::string> doubts = {};
  bool tproxied = false;
  bool nat = false;                // the destination was changed
  SocketAddress destination = {};  // as it arrives
  IpAddress source = {};
  std::string device = {};  // outgoing interface of a direct one; "lo" or the incoming one if local
  bool local = false;       // to this host
};

struct Explanation {
  Outcome outcome;  // landing kUnknown when the candidates differ
  std::vector<Outcome> candidates;
};

class Walker {
 public:
  // Both must outlive this.
  Walker(const Model& model, Host& host);

  Explanation Explain(const Connection& connection) const;

  // The port of the DNS, outbound or inbound listener in the Sluice rules; 0 for none.
  std::uint16_t PortOf(Landing landing) const;

 private:
  friend class Run;
  // A base chain at a hook.
  struct Base {
    // Its effective priority: all nat chains run at one place, in the order of their priorities.
    int place = 0;
    int priority = 0;
    const ModelTable* table = nullptr;  // nullptr: not read
    const ModelChain* chain = nullptr;
    const UnreadChain* unread = nullptr;
    // How many bases from here on have the same priority and depend on their order.
    std::size_t tied = 1;
  };
  void Add(Family family, HookPoint hook, Base base);
  Explanation ExplainFresh(const Connection& connection) const;
  Explanation ExplainKnown(const Connection& connection) const;

  std::vector<Base> at_[2][5];  // by family and hook, in order
  Host& host_;
  std::map<Landing, std::uint16_t> ports_;
};

}  // namespace sluice::capture::explain
