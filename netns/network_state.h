// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>
#include <vector>

#include "netns/route_socket.h"

namespace sluice::netns {

// What a network namespace has, each thing listed once and remembered until Forget(): a listing
// costs as much as committing a rule. What was listed under the lock stays true under it; who
// changes something makes it forget.
class NetworkState {
 public:
  // `socket` outlives this.
  explicit NetworkState(netns::RouteSocket& socket) : socket_(socket) {}

  netns::RouteSocket& socket() { return socket_; }

  const std::vector<netns::AddressEntry>& Addresses();
  // Of both families; none where the kernel has no policy routing.
  const std::vector<netns::PolicyRule>& Rules();

  void Forget();

 private:
  netns::RouteSocket& socket_;
  std::optional<std::vector<netns::AddressEntry>> addresses_;
  std::optional<std::vector<netns::PolicyRule>> rules_;
};

}  // namespace sluice::netns
