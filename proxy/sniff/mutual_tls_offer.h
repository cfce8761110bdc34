// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <span>

namespace sluice::proxy {

enum class MtlsOffer : std::uint8_t {
  kNeedMore,  // all bytes fit so far
  kYes,       // a whole ClientHello that offers an ALPN protocol of Istio's proxies
  kNo,        // anything else: plaintext, or the application's own TLS
};

// Whether a stream that begins with `bytes` is the mutual TLS of a proxy, in the way in which
// Istio's proxies tell (istio pilot/pkg/networking/util, ALPNInMeshWithMxc and others): its
// ClientHello offers istio, istio-peer-exchange, istio-http/1.0, istio-http/1.1 or istio-h2. The
// message may be spread over records. No more than kMaxSniffBytes are looked at.
MtlsOffer OffersMutualTls(std::span<const std::uint8_t> bytes);

}  // namespace sluice::proxy
