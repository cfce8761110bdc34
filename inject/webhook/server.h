// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "inject/manifest.h"

namespace sluice::inject::webhook {

struct ServerOptions {
  std::uint16_t port = 9443;  // 0: any free port; the log says which
  std::string certificate;    // paths of PEM files
  std::string key;
  std::size_t max_connections = 1000;
  // For the bodies of all requests together, beyond the first 64 KiB of each.
  std::size_t max_body_memory = std::size_t{64} * 1024 * 1024;
  // How long to accept connections after SIGTERM: the cluster sends more until every node knows
  // that this server is ending.
  std::chrono::milliseconds drain{5000};
  std::string version;  // for marking the pods
};

// Serves the webhook over HTTPS until SIGTERM or SIGINT, and then drains: POST /inject, GET
// /healthz and GET /metrics. One thread, no state. Reloads certificate and key when they change, or
// at SIGHUP; if the new ones are unusable the old ones stay. Logs to standard error, one JSON
// object per line. Throws Error if it cannot start.
void Serve(const ServerOptions& options, const Decide& decide);

}  // namespace sluice::inject::webhook
