// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>
#include <vector>

#include "netns/route_socket.h"

namespace sluice::netns {

// The contents of a network namespace, listed once and cached until Forget(): a listing costs as
// much as committing a rule. A list made under the lock stays valid under it; whoever changes
// something must call Forget().
class NetworkState {
 public:
  // `socket` must outlive this.
  explicit NetworkState(netns::RouteSocket& socket) : socket_(socket) {}

  netns::RouteSocket& socket() { return socket_; }

  const std::vector<netns::AddressEntry>& Addresses();
  // Of both families; empty if the kernel has no policy routing.
  const std::vector<netns::PolicyRule>& Rules();

  void Forget();

 private:
  netns::RouteSocket& socket_;
  std::optional<std::vector<netns::AddressEntry>> addresses_;
  std::optional<std::vector<netns::PolicyRule>> rules_;
};

}  // namespace sluice::netns
