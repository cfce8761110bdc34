// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <openssl/ssl.h>

#include <optional>
#include <string_view>

#include "tls/stream/stream.h"

// What OpenSSL knows of a connection, for this directory only.
namespace sluice::tls {

std::optional<Stream::PeerCertificate> CertificateOf(const SSL* ssl);
// The name that the client asks for (SNI); empty if none.
std::string_view ServerName(const SSL* ssl);
// The negotiated ALPN protocol; empty if none.
std::string_view Protocol(const SSL* ssl);

}  // namespace sluice::tls
