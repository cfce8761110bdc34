// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "inject/manifest.h"

namespace sluice::inject::webhook {

struct ServerOptions {
  std::uint16_t port = 9443;  // 0: any that is free; the log says which
  std::string certificate;    // paths of PEM files
  std::string key;
  std::size_t max_connections = 1000;
  // After SIGTERM: how long connections are accepted still, because the cluster goes on sending
  // them until every node knows that this one ends.
  std::chrono::milliseconds drain{5000};
  std::string version;  // noted in the pods
};

// Serves the webhook over HTTPS until SIGTERM or SIGINT, and drains then: POST /inject, GET
// /healthz and GET /metrics. One thread, no state. Reads certificate and key again when they have
// changed, or at SIGHUP; one that cannot be used leaves the old one in place. Logs on standard
// error, one JSON object per line. Throws Error when it cannot begin.
void Serve(const ServerOptions& options, const Decide& decide);

}  // namespace sluice::inject::webhook
