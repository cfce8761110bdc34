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

// The sockets of --run-validation: those in place of the proxy, and those that act as applications
// and as the proxy. All are non-blocking; all functions throw sluice::Error.
namespace sluice::verify {

// A socket that belongs to `owner`, as xt_owner sees it; nothing if that is not us and CAP_SETUID
// or CAP_SETGID is missing. The process's own credentials are unchanged.
std::optional<UniqueFd> OpenSocketAs(const Owner& owner, Family family, capture::Protocol protocol);

// Our own ids.
Owner CurrentOwner();

// Whether OpenSocketAs can use other ids.
bool MayActAsOthers();

// A socket in place of the proxy or an application.
struct Listener {
  Landing landing = Landing::kDirect;
  capture::Protocol protocol = capture::Protocol::kTcp;
  SocketAddress address = {};  // the port is the real one
  UniqueFd fd = {};
  // Whether it answers datagrams as the agent, whose conntrack zone depends on the owner.
  bool as_proxy = false;
};

// Data that a Listener received.
struct Delivery {
  std::string data = {};
  SocketAddress client = {};
  SocketAddress local = {};  // getsockname(2)
  std::optional<SocketAddress> original =
      {};  // SO_ORIGINAL_DST; none for UDP, or without conntrack
};

// Listens where the proxy will, for one family, on the ports at which `probes` can end.
// `transparent` as the proxy does in TPROXY mode, which needs CAP_NET_ADMIN or CAP_NET_RAW. Throws
// kFailed if a port is in use: the proxy is already running.
std::vector<Listener> ListenAsProxy(const capture::CaptureConfig& config, Family family,
                                    const std::vector<Probe>& probes, bool transparent);

// Listens at a probe's destination; port 0 means any. Returns an errno on failure.
struct DirectListener {
  std::optional<Listener> listener = {};
  int failure = 0;
};
DirectListener ListenDirectly(const SocketAddress& at);

// The original destination of `fd`, an accepted connection.
Delivery DescribeConnection(int fd);

}  // namespace sluice::verify
