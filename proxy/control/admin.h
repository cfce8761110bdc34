// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/os/resolv_conf.h"
#include "proxy/config.h"
#include "proxy/control/connection_info.h"
#include "proxy/control/history.h"
#include "proxy/control/http_server.h"
#include "proxy/control/page.h"

namespace sluice::proxy {

// What the admin port shows and controls.
struct AdminBackend {
  const ProxyConfig* config = nullptr;
  std::vector<Nameserver> dns_resolvers;  // the forwarder's servers, in order
  const Stats* stats = nullptr;
  const History* history = nullptr;
  std::function<PageFacts()> facts;
  std::function<std::string()> metrics;
  std::function<std::vector<ConnectionInfo>()> connections;
  std::function<void()> drain;
  // The bearer token that clients must send; empty: none.
  std::string token = {};
  // The number of answers with connections in progress. Each holds a list of all connections.
  std::shared_ptr<std::atomic<int>> listings = std::make_shared<std::atomic<int>>(0);
};

// GET / (a page for people), /config_dump, /stats, /stats/prometheus, /connections and /logging;
// POST /drain and /logging?level=LEVEL. Refuses requests of web pages in a browser on this host:
// those for a name other than loopback (DNS rebinding), or from another origin. As thread-safe as
// the backend.
HttpResponse ServeAdmin(const HttpRequest& request, const AdminBackend& backend);

}  // namespace sluice::proxy
