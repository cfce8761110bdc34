// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <utility>

#include "apply/backends.h"
#include "capture/lock.h"
#include "netns/namespace.h"
#include "netns/network_state.h"
#include "netns/route_socket.h"

namespace sluice::apply {

// The network namespace in which `socket` was opened; the calling thread's if the kernel does not
// tell.
inline netns::Namespace NamespaceOf(const netns::RouteSocket& socket) {
  auto found = socket.Where();
  return found ? *std::move(found) : netns::Namespace::Current();
}

// Where a run takes place: the network namespace of the calling thread, and the sockets to it.
struct Site {
  netns::RouteSocket socket;
  netns::Namespace here = NamespaceOf(socket);
  capture::Lock lock{here.fd()};
  netns::NetworkState network{socket};
  Backends backends;

  capture::Backend& backend() { return backends.chosen(); }
};

}  // namespace sluice::apply
