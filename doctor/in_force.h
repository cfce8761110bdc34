// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "capture/rule.h"
#include "doctor/facts.h"

// Internal to the judge: the rules that it examines.
namespace sluice::doctor {

// A port that rules lead to.
struct Destination {
  Family family = Family::kIpv4;
  capture::Protocol protocol = capture::Protocol::kTcp;
  std::uint16_t port = 0;
  bool from_outside = false;  // from PREROUTING, too
  bool transparent = false;   // by TPROXY
  bool dns = false;

  // "15006/tcp over IPv4"
  std::string ToString() const;
};

struct InForce {
  capture::RuleSet rules;
  bool installed = false;
  std::string backend;  // whose rules; empty if not installed

  std::vector<Destination> destinations = {};
  // The owners of the proxy's own traffic.
  std::set<std::uint32_t> uids = {};
  std::set<std::uint32_t> gids = {};
  bool tproxy = false;
  bool dns = false;
  bool listening = false;  // --capture-listening

  // Why there may be installed rules that are not in `rules`; empty if all were readable.
  std::string unseen = {};

  // No rules were found, but some may be there.
  bool unknown() const { return !unseen.empty() && !any(); }
  bool any() const { return !destinations.empty(); }
  bool Has(Family family) const;
};

InForce FindInForce(const Facts& facts);

}  // namespace sluice::doctor
