// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/cause.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>
#include <variant>

#include "base/pod_contract.h"

namespace sluice::capture::explain {
namespace {

std::string Text(const PortRange& range) {
  if (range.first == range.last) return std::to_string(range.first);
  return std::to_string(range.first) + "-" + std::to_string(range.last);
}

template <typename T>
const T* MatchOf(const Rule& rule) {
  for (const Match& match : rule.matches) {
    if (const auto* found = std::get_if<T>(&match)) return found;
  }
  return nullptr;
}

std::string ChainOf(const Rule& rule) {
  if (const auto* jump = std::get_if<Jump>(&rule.target)) return jump->chain;
  if (const auto* go = std::get_if<Goto>(&rule.target)) return go->chain;
  return {};
}

bool Returns(const Rule& rule) { return std::holds_alternative<Return>(rule.target); }

// The owner in an owner match: the flags for users and for groups have the same kind of value.
struct Owner {
  bool group = false;
  std::uint32_t id = 0;
  friend auto operator<=>(const Owner&, const Owner&) = default;
};
std::optional<Owner> OwnerOf(const Rule& rule) {
  const auto* match = MatchOf<OwnerMatch>(rule);
  if (match == nullptr) return {};
  if (match->uid && !match->uid->negated) return Owner{false, match->uid->value};
  if (match->gid && !match->gid->negated) return Owner{true, match->gid->value};
  return {};
}

std::string ProxyFlag(const Owner& owner) {
  return (owner.group ? "--proxy-gid=" : "--proxy-uid=") + std::to_string(owner.id);
}

class Namer {
 public:
  // For the chains of `local`, an x_tables table.
  Namer(ModelTable& table, std::string_view local) : table_(table), local_(local) {
    for (const ModelChain& chain : table.chains) {
      if (!IsMine(chain)) continue;
      for (const ModelRule& rule : chain.rules) {
        if (!rule.known) continue;
        // The proxy's ids: their calls to the own pod are redirected inbound, or marked.
        const bool of_proxy = ChainOf(*rule.known) == "ISTIO_IN_REDIRECT" ||
                              std::holds_alternative<SetMark>(rule.known->target);
        if (const auto owner = OwnerOf(*rule.known); owner && of_proxy) proxies_.insert(*owner);
      }
    }
  }

  void Run() {
    for (ModelChain& chain : table_.chains) {
      if (!IsMine(chain)) continue;
      for (ModelRule& rule : chain.rules) {
        if (!rule.known) {
          rule.why = "a rule that this version of Sluice does not write";
          continue;
        }
        Name(chain, rule, *rule.known);
      }
    }
  }

 private:
  bool IsMine(const ModelChain& chain) const {
    return chain.ours && LocalTable(table_, chain) == local_;
  }

  static void Set(ModelRule& rule, std::string flag, std::string why = {}) {
    rule.flag = std::move(flag);
    rule.why = std::move(why);
  }

  void Name(const ModelChain& chain, ModelRule& rule, const Rule& known) {
    const std::string_view name = LocalName(chain);
    if (local_ == "raw") return Set(rule, "--redirect-dns=true");
    if (name == "ISTIO_REDIRECT") return SetPort(rule, known, "--envoy-port=");
    if (name == "ISTIO_IN_LISTENING") {
      return Set(rule, "--capture-listening=true",
                 std::holds_alternative<Redirect>(known.target)
                     ? "nobody listens on the port: refused, so that no socket that listens a "
                       "moment later gets it past the proxy"
                     : "somebody listens on the port");
    }
    if (name == "ISTIO_IN_REDIRECT") return SetPort(rule, known, "--inbound-capture-port=");
    if (name == "ISTIO_TPROXY") return SetPort(rule, known, "--inbound-capture-port=");
    if (name == "ISTIO_DIVERT") {
      return Set(rule, "--istio-inbound-interception-mode=TPROXY",
                 "a known connection goes on to its socket");
    }
    if (name == "ISTIO_DROP") return Set(rule, "--drop-invalid=true");
    if (name == "ISTIO_OUTPUT_DNS") {
      return Set(rule, known.destination ? "--redirect-dns=true" : "--capture-all-dns=true");
    }
    if (name.starts_with("ISTIO_VIRT")) return SetRange(rule, known, "--istio-service-cidr");
    if (name.starts_with("ISTIO_OUTPUT_INCLUDE_") || name == "ISTIO_OUTPUT_INCLUDE") {
      return SetRange(rule, known, "--istio-service-cidr");
    }
    if (name.starts_with("ISTIO_OUTPUT_EXCLUDE")) {
      return SetRange(rule, known, "--istio-service-exclude-cidr");
    }
    if (name.starts_with("ISTIO_INBOUND_EXCLUDE")) {
      return SetRange(rule, known, "--istio-inbound-exclude-cidr");
    }
    if (name.starts_with("ISTIO_OUTPUT")) return NameOutput(rule, known);
    if (name.starts_with("ISTIO_INBOUND")) return NameInbound(rule, known);
    rule.why = "a rule that this version of Sluice does not write";
  }

  static void SetPort(ModelRule& rule, const Rule& known, std::string flag) {
    if (const auto* redirect = std::get_if<Redirect>(&known.target)) {
      flag += std::to_string(redirect->port);
    } else if (const auto* tproxy = std::get_if<Tproxy>(&known.target)) {
      flag += std::to_string(tproxy->port);
    }
    Set(rule, std::move(flag));
  }

  // A rule of a list, or of the chains that a long list is compiled to.
  static void SetRange(ModelRule& rule, const Rule& known, const std::string& flag) {
    const auto& range = known.source ? known.source : known.destination;
    const bool leads_on = std::holds_alternative<Goto>(known.target);
    if (leads_on || !range) return Set(rule, flag, "a list of ranges, sorted into chains");
    Set(rule, flag + "=" + range->value.ToString());
  }

  void NameOutput(ModelRule& rule, const Rule& known) {
    const auto* port = MatchOf<PortMatch>(known);
    const auto* owner = MatchOf<OwnerMatch>(known);
    const bool lo = known.out_interface == std::optional(Is("lo"));
    const std::string to = ChainOf(known);
    if (owner != nullptr) return NameOwner(rule, known);
    if (MatchOf<MarkMatch>(known) != nullptr || MatchOf<ConnmarkMatch>(known) != nullptr) {
      return Set(rule, "--istio-inbound-interception-mode=TPROXY",
                 "what the proxy sends to the application, and what that answers");
    }
    if (known.list) {
      return Set(rule, Returns(known) ? "--istio-service-exclude-cidr" : "--istio-service-cidr",
                 "a list of ranges");
    }
    if (known.source) {
      return Set(rule, {}, "the proxy's own connection to the application, in every configuration");
    }
    if (to == "ISTIO_OUTPUT_DNS") return Set(rule, "--redirect-dns=true");
    if (to == "ISTIO_OUTPUT_PORTS") return Set(rule, {}, "the rules after a list of ranges");
    if (to.starts_with("ISTIO_OUTPUT_EXCLUDE")) {
      return Set(rule, "--istio-service-exclude-cidr", "a list of ranges, sorted into chains");
    }
    if (to.starts_with("ISTIO_OUTPUT_INCLUDE_") || to == "ISTIO_OUTPUT_INCLUDE") {
      return Set(rule, "--istio-service-cidr", "a list of ranges, sorted into chains");
    }
    if (to == "ISTIO_OUTPUT_INCLUDED") {
      return Set(rule, "--include-interfaces=" + known.out_interface->value);
    }
    if (to == "ISTIO_REDIRECT") {
      if (port != nullptr) {
        return Set(rule, "--istio-outbound-ports=" + Text(port->destination->value));
      }
      if (known.destination) {
        return Set(rule, "--istio-service-cidr=" + known.destination->value.ToString());
      }
      return Set(rule, "--istio-service-cidr=*");
    }
    if (!Returns(known)) return;
    if (lo && (seen_proxy_ || port != nullptr)) {
      return Set(rule, {},
                 "what stays inside the pod is left alone, unless --istio-service-cidr "
                 "names loopback addresses");
    }
    if (known.out_interface) {
      return Set(rule, "--istio-exclude-interfaces=" + known.out_interface->value);
    }
    if (port != nullptr && port->destination) {
      return Set(rule, "--istio-local-outbound-ports-exclude=" + Text(port->destination->value));
    }
    if (known.destination) return NameDestination(rule, known.destination->value);
    Set(rule, "--istio-outbound-owner-groups=", "no group is named, so nobody is captured");
  }

  // IPv6 link-local addresses return in every configuration; the loopback range has a flag.
  void NameDestination(ModelRule& rule, const Cidr& range) {
    if (range == Cidr::Parse("fe80::/10")) {
      return Set(rule, {}, "link-local addresses mean nothing to a proxy, in every configuration");
    }
    if (!seen_loopback_ && range.address().IsLoopback()) {
      seen_loopback_ = true;
      if (range.family() == Family::kIpv6) return Set(rule, {}, "::1, in every configuration");
      return Set(rule, "--istio-outbound-ipv4-loopback-cidr=" + range.ToString());
    }
    Set(rule, "--istio-service-exclude-cidr=" + range.ToString());
  }

  void NameOwner(ModelRule& rule, const Rule& known) {
    const auto owner = OwnerOf(known);
    if (!owner) {
      std::string groups;
      for (const Match& match : known.matches) {
        const auto* one = std::get_if<OwnerMatch>(&match);
        if (one == nullptr || !one->gid) continue;
        groups += (groups.empty() ? "" : ",") + std::to_string(one->gid->value);
      }
      return Set(rule, "--istio-outbound-owner-groups=" + groups, "the sender is in none of them");
    }
    const bool for_proxy = !Returns(known) || known.out_interface.has_value();
    if (for_proxy || (seen_proxy_ && proxies_.contains(*owner))) {
      seen_proxy_ = true;
      return Set(rule, ProxyFlag(*owner),
                 Returns(known) ? "the proxy's own traffic"
                                : "the proxy's call of its own pod is inbound");
    }
    if (seen_proxy_) {
      return Set(rule, "--istio-outbound-owner-groups-exclude=" + std::to_string(owner->id));
    }
    Set(rule, (owner->group ? "--exclude-gids=" : "--exclude-uids=") + std::to_string(owner->id));
  }

  void NameInbound(ModelRule& rule, const Rule& known) {
    const auto* port = MatchOf<PortMatch>(known);
    const auto* state = MatchOf<ConntrackStateMatch>(known);
    const std::string to = ChainOf(known);
    if (known.list && known.list->of == RangeOf::kSource) {
      return Set(rule, "--istio-inbound-exclude-cidr", "a list of ranges");
    }
    if (to == "ISTIO_INBOUND_PORTS") return Set(rule, {}, "the rules after a list of ranges");
    if (to == "ISTIO_DROP") return Set(rule, "--drop-invalid=true");
    if (to == "ISTIO_IN_REDIRECT" || to == "ISTIO_IN_LISTENING" || to == "ISTIO_TPROXY" ||
        to == "ISTIO_DIVERT") {
      const bool some = port != nullptr && port->destination;
      return Set(rule, "--istio-inbound-ports=" + (some ? Text(port->destination->value) : "*"),
                 state != nullptr ? "a known connection" : "");
    }
    if (to == "ISTIO_REDIRECT" || to == "ISTIO_VIRT_OUTPUT") {
      virtual_.insert(known.in_interface ? known.in_interface->value : "");
      return Set(rule, "--kube-virt-interfaces=" + *virtual_.rbegin());
    }
    if (to == "ISTIO_INBOUND_INCLUDED") {
      return Set(rule, "--include-interfaces=" + known.in_interface->value);
    }
    if (to.starts_with("ISTIO_INBOUND_EXCLUDE")) {
      return Set(rule, "--istio-inbound-exclude-cidr", "a list of ranges, sorted into chains");
    }
    if (MatchOf<MarkMatch>(known) != nullptr || (known.source && known.in_interface)) {
      return Set(rule, "--istio-inbound-interception-mode=TPROXY",
                 "what must not be captured again");
    }
    if (!Returns(known)) return;
    if (known.in_interface) {
      const std::string& name = known.in_interface->value;
      const bool is_virtual = virtual_.contains(name);
      return Set(rule,
                 (is_virtual ? "--kube-virt-interfaces=" : "--istio-exclude-interfaces=") + name);
    }
    if (known.source) {
      return Set(rule, "--istio-inbound-exclude-cidr=" + known.source->value.ToString());
    }
    if (known.destination) return NameDestination(rule, known.destination->value);
    if (port == nullptr || !port->destination) return;
    // In the nat table the tunnel port comes before the excluded ports.
    const bool tunnel = local_ == "nat" && !seen_tunnel_;
    seen_tunnel_ = true;
    Set(rule, (tunnel ? "--inbound-tunnel-port=" : "--istio-local-exclude-ports=") +
                  Text(port->destination->value));
  }

  ModelTable& table_;
  std::string_view local_;
  std::set<Owner> proxies_;
  std::set<std::string> virtual_;
  bool seen_proxy_ = false;     // saw a rule for the proxy in the output chain
  bool seen_loopback_ = false;  // saw the rule for the loopback range
  bool seen_tunnel_ = false;
};

}  // namespace

void NameCauses(ModelTable& table) {
  // Chains that continue another one come after it, although they are sorted by name: the first
  // ones are in the order ISTIO_INBOUND, ISTIO_INBOUND_INCLUDED, ISTIO_OUTPUT,
  // ISTIO_OUTPUT_INCLUDED.
  std::set<std::string, std::less<>> locals;
  for (const ModelChain& chain : table.chains) {
    if (chain.ours) locals.emplace(LocalTable(table, chain));
  }
  for (const std::string& local : locals) Namer(table, local).Run();
}

std::string AdviceFor(std::string_view flag, bool captured) {
  const auto equals = flag.find('=');
  const std::string_view name = flag.substr(0, equals);
  const std::string value(equals == flag.npos ? "" : flag.substr(equals + 1));
  using Row = std::pair<std::string_view, std::string_view>;
  // Why a rule leaves a connection alone.
  constexpr std::array<Row, 14> kLeft = {{
      {"--istio-exclude-interfaces", "to have it captured, take the interface out of"},
      {"--include-interfaces", "to have it captured, name the interface in"},
      {"--istio-local-outbound-ports-exclude", "to have it captured, take the port out of"},
      {"--istio-local-exclude-ports", "to have it captured, take the port out of"},
      {"--istio-service-exclude-cidr", "to have it captured, take the range out of"},
      {"--istio-inbound-exclude-cidr", "to have it captured, take the range out of"},
      {"--exclude-uids", "to have it captured, take the user out of"},
      {"--exclude-gids", "to have it captured, take the group out of"},
      {"--istio-outbound-owner-groups-exclude", "to have it captured, take the group out of"},
      {"--istio-outbound-owner-groups", "to have it captured, add the sender's group to"},
      {"--proxy-uid",
       "to have it captured, let the sender run as another user than the proxy, or name the "
       "proxy's user in"},
      {"--proxy-gid",
       "to have it captured, let the sender run in another primary group than the proxy, or name "
       "the proxy's group in"},
      {"--inbound-tunnel-port",
       "the port is the proxy's own, and no application should use it; "
       "choose another one with"},
      {"--capture-listening",
       "to have it captured, listen on the pod's address or on all, not on a loopback address; to "
       "have closed ports captured too, turn off"},
  }};
  constexpr std::array<Row, 4> kTaken = {{
      {"--istio-service-cidr",
       "to have it left alone, name its address in --istio-service-exclude-cidr, its port in "
       "--istio-local-outbound-ports-exclude, its user in --exclude-uids, or less in"},
      {"--istio-outbound-ports", "to have it left alone, take the port out of"},
      {"--istio-inbound-ports",
       "to have it left alone, name its port in --istio-local-exclude-ports, its source in "
       "--istio-inbound-exclude-cidr, or less in"},
      {"--redirect-dns", "to have it left alone, turn off"},
  }};
  const auto find = [&](const auto& rows) -> std::string {
    const auto found = std::ranges::find(rows, name, &Row::first);
    if (found == rows.end()) return {};
    return std::string(found->second) + " " + std::string(name) +
           (value.empty() ? "" : " (it is there by " + value + ")");
  };
  return captured ? find(kTaken) : find(kLeft);
}

}  // namespace sluice::capture::explain
