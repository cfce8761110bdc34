// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/socket_address.h"
#include "base/unique_fd.h"
#include "capture/capture_config.h"
#include "verify/probe_plan.h"

// The sockets of --run-validation: those in the proxy's place, and those that act as applications
// and as the proxy. All are non-blocking, and everything throws sluice::Error.
namespace sluice::verify {

// A socket that belongs to `owner`, as xt_owner sees it; nothing when that is somebody else and
// CAP_SETUID or CAP_SETGID is missing. The process's own credentials are as before.
std::optional<UniqueFd> OpenSocketAs(const Owner& owner, Family family, capture::Protocol protocol);

// Who we are.
Owner CurrentOwner();

// Whether OpenSocketAs can be anybody else.
bool MayActAsOthers();

// A socket in the place of the proxy, or of an application.
struct Listener {
  Landing landing = Landing::kDirect;
  capture::Protocol protocol = capture::Protocol::kTcp;
  SocketAddress address = {};  // the port is the real one
  UniqueFd fd = {};
  // Whether datagrams are answered as the agent's, which conntrack zones tell by its owner.
  bool as_proxy = false;
};

// What somebody sent to a Listener.
struct Delivery {
  std::string data = {};
  SocketAddress client = {};
  SocketAddress local = {};  // getsockname(2)
  std::optional<SocketAddress> original =
      {};  // SO_ORIGINAL_DST; none for UDP, or without conntrack
};

// Listens where the proxy will, for one family: on the ports that `probes` can end at.
// `transparent` as the proxy does in TPROXY mode, which takes CAP_NET_ADMIN or CAP_NET_RAW. Throws
// kFailed when a port is in use: the proxy runs already.
std::vector<Listener> ListenAsProxy(const capture::CaptureConfig& config, Family family,
                                    const std::vector<Probe>& probes, bool transparent);

// Listens at a probe's destination; port 0 takes any. The errno when that cannot be.
struct DirectListener {
  std::optional<Listener> listener = {};
  int failure = 0;
};
DirectListener ListenDirectly(const SocketAddress& at);

// Where `fd`, an accepted connection, was going.
Delivery DescribeConnection(int fd);

}  // namespace sluice::verify
