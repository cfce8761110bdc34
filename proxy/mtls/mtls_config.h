// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/port_range.h"
#include "tls/credentials.h"
#include "tls/spiffe_id.h"

namespace sluice::proxy {

// What is asked of inbound connections.
enum class MtlsInbound : std::uint8_t {
  kOff,     // nothing: they are relayed as they are
  kStrict,  // mutual TLS, or they are reset
};

// "off" or "strict".
constexpr std::string_view Name(MtlsInbound inbound) {
  return inbound == MtlsInbound::kOff ? "off" : "strict";
}

// Mutual TLS as it is asked for; nothing of it by itself.
struct MtlsConfig {
  // Without a directory there is no mutual TLS.
  tls::CredentialSource credentials = {};
  MtlsInbound inbound = MtlsInbound::kOff;
  // Who may come in. Never empty with kStrict.
  std::vector<tls::SpiffePattern> allow = {};
  // Of the application, that are as if `inbound` were kOff.
  std::vector<PortRange> inbound_plaintext_ports = {};
  // With the rules of OutboundPolicy; empty: none.
  std::string outbound_file = {};

  bool enabled() const { return !credentials.directory.empty(); }
};

}  // namespace sluice::proxy
