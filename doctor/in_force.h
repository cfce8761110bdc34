// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "capture/rule.h"
#include "doctor/facts.h"

// Internal to the judge: what the rules that it goes by say.
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
  std::string backend;  // whose rules; empty unless installed

  std::vector<Destination> destinations = {};
  // Whose traffic is the proxy's own.
  std::set<std::uint32_t> uids = {};
  std::set<std::uint32_t> gids = {};
  bool tproxy = false;
  bool dns = false;

  // Why rules may be installed that are not in `rules`; empty where all could be seen.
  std::string unseen = {};

  // Nothing is known, and something may be there.
  bool unknown() const { return !unseen.empty() && !any(); }
  bool any() const { return !destinations.empty(); }
  bool Has(Family family) const;
};

InForce FindInForce(const Facts& facts);

}  // namespace sluice::doctor
