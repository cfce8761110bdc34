// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/ip_address.h"
#include "base/unique_fd.h"

namespace sluice::netns {

// The question of `ip route get`.
struct RouteRequest {
  IpAddress to;
  std::optional<IpAddress> from = {};
  int in_link = 0;  // index of the incoming interface; 0: a local packet
  std::uint32_t mark = 0;
  std::optional<std::uint32_t> uid = {};
};
struct RouteReply {
  int error = 0;      // the kernel's errno: ENETUNREACH, EXDEV for rp_filter; 0: there is a route
  unsigned type = 0;  // RTN_UNICAST, RTN_LOCAL... of linux/rtnetlink.h
  int out_link = 0;
  std::optional<IpAddress> source = {};
};

// The kernel's own routing decision (RTM_GETROUTE), which takes policy rules, marks and uids into
// account. Needs no privilege. Works in the namespace in which it was created; one thread at a
// time. Throws sluice::Error when the socket fails.
class RouteLookup {
 public:
  RouteLookup();
  RouteReply Ask(const RouteRequest& request);

 private:
  UniqueFd socket_;
  std::uint32_t sequence_ = 0;
};

}  // namespace sluice::netns
