// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/port_range.h"
#include "tls/context.h"
#include "tls/credentials.h"
#include "tls/spiffe_id.h"

namespace sluice::proxy {

// What is asked of inbound connections.
enum class MtlsInbound : std::uint8_t {
  kOff,         // nothing: they are relayed as they are
  kPermissive,  // nothing; what is mutual TLS of a proxy ends here, all else is relayed as it is
  kStrict,      // mutual TLS, or they are reset
};

// "off", "permissive" or "strict".
constexpr std::string_view Name(MtlsInbound inbound) {
  switch (inbound) {
    case MtlsInbound::kOff:
      return "off";
    case MtlsInbound::kPermissive:
      return "permissive";
    case MtlsInbound::kStrict:
      break;
  }
  return "strict";
}

// Mutual TLS as it is asked for; nothing of it by itself.
struct MtlsConfig {
  // Without a directory there is no mutual TLS.
  tls::CredentialSource credentials = {};
  MtlsInbound inbound = MtlsInbound::kOff;
  // Who may come in over mutual TLS. Never empty with kStrict; with kPermissive, empty is everybody
  // whose name is proven.
  std::vector<tls::SpiffePattern> allow = {};
  // Of the application, that are as if `inbound` were kOff.
  std::vector<PortRange> inbound_plaintext_ports = {};
  // How long a client of kPermissive may take to say what it speaks.
  std::chrono::milliseconds detection_timeout = std::chrono::seconds(1);
  tls::OldestTls oldest_tls = tls::OldestTls::k13;
  // Whether the kernel gets the keys of established connections, if it has TLS of its own.
  bool ktls = true;
  // With the rules of OutboundPolicy; empty: none.
  std::string outbound_file = {};

  bool enabled() const { return !credentials.directory.empty(); }
};

}  // namespace sluice::proxy
