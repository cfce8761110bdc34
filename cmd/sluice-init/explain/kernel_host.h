// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <map>
#include <optional>
#include <string>

#include "capture/capture_rules.h"
#include "capture/explain/walk.h"
#include "cmd/sluice-init/explain/socket_lookup.h"
#include "netns/network_state.h"
#include "netns/route_lookup.h"

namespace sluice::init {

// The routes and addresses of the namespace that the thread is in. Each answer is remembered: the
// namespace is taken to stay as it is.
class KernelHost : public capture::explain::Host {
 public:
  // With `planned` rules the namespace need not be the pod's: packets without a route here are
  // assumed to leave by eth0, and arriving packets to be for the pod.
  KernelHost(netns::NetworkState& network, bool planned) : network_(network), planned_(planned) {}

  capture::explain::RouteAnswer Route(const capture::explain::RouteQuery& query) override;
  std::optional<IpAddress> FirstAddress(const std::string& interface, Family family) override;

  std::optional<int> InterfaceIndex(const std::string& name) override {
    const int index = IndexOf(name);
    return index == 0 ? std::nullopt : std::optional(index);
  }

  // The sockets of the namespace: with planned rules, not known.
  std::optional<bool> Takes(const capture::explain::SocketQuery& query) override;

  // Empty if there is none.
  std::string InterfaceName(int index) { return NameOf(index); }
  bool HasInterface(const std::string& name) { return IndexOf(name) != 0; }
  // Whether `address` belongs to this namespace.
  bool IsOwn(const IpAddress& address);

 private:
  capture::explain::RouteAnswer Ask(const capture::explain::RouteQuery& query);
  bool Forwards(Family family);
  void ReadLinks();
  int IndexOf(const std::string& name);
  std::string NameOf(int index);

  netns::NetworkState& network_;
  const bool planned_;
  netns::RouteLookup lookup_;
  std::optional<SocketLookup> sockets_;
  std::map<capture::explain::RouteQuery, capture::explain::RouteAnswer> answers_;
  std::optional<std::map<std::string, int>> links_;
  std::optional<bool> forwards_v4_;
  std::optional<bool> forwards_v6_;
};

}  // namespace sluice::init
