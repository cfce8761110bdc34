// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/cidr.h"
#include "base/port_range.h"
#include "base/socket_address.h"
#include "tls/spiffe_id.h"

namespace sluice::proxy {

// Who has to answer at a destination. Shared with the connections that are made by the rule.
struct OutboundPeer {
  std::vector<tls::SpiffePattern> ids;  // never empty
  std::string host;                     // of the destination, as a service has one; may be empty

  // As a client of mutual TLS asks for this service (SNI), which is what Istio's proxies and
  // gateways tell services by: "outbound_.80_._.cart.shop.svc.cluster.local". "" without a host.
  std::string ServerName(std::uint16_t port) const;
};

// The host in such a name; "" if it is none.
std::string_view HostOfServerName(std::string_view name);

// One line of an OutboundPolicy.
struct OutboundRule {
  Cidr destination;
  std::vector<PortRange> ports;  // sorted, apart from one another, never empty
  std::shared_ptr<const OutboundPeer> peer;
  std::size_t line = 0;  // counts from 1
};

// To which destinations an outbound connection has to be mutual TLS, and who has to answer: one
// rule a line, in columns that spaces or tabs separate.
//
//   # destination   ports          who answers
//   10.96.0.10      80,8080-8089   spiffe://cluster.local/ns/shop/sa/cart
//   10.244.0.0/16   *              spiffe://cluster.local/ns/shop/sa/*  spiffe://east.example/**
//   fd00:10::/64    443            spiffe://cluster.local/ns/shop/sa/cart
//   10.96.0.11      80             host=till.shop.svc.cluster.local
//   spiffe://cluster.local/ns/shop/sa/till
//
// The first line that fits a destination decides, as in other tables of routes and of rules; a line
// that an earlier one leaves nothing to decide is an error. "#" begins a comment, at the start of a
// line or behind a space. Never changed; may be used by several threads at once.
class OutboundPolicy {
 public:
  // Without rules.
  OutboundPolicy() = default;

  // Throws Error(kUsage): `name` with the line and the column, what is there, and what would be
  // right.
  static OutboundPolicy Parse(std::string_view text, const std::string& name);

  // Null: nothing is asked of a connection to this destination.
  const OutboundRule* Find(const SocketAddress& destination) const;

  const std::vector<OutboundRule>& rules() const { return rules_; }

 private:
  std::vector<OutboundRule> rules_;
};

}  // namespace sluice::proxy
