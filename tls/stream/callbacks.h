// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <openssl/ssl.h>

#include "tls/openssl.h"

// The callbacks that Context gives to OpenSSL, for this directory only.
namespace sluice::tls {

// Whether the handshake's stream accepts the peer that has shown `chain`: 1 or 0. OpenSSL passes
// `unused`.
int JudgePeer(X509_STORE_CTX* chain, void* unused);

// A secret of the handshake, which the stream keeps until it is complete: "LABEL RANDOM SECRET",
// the latter two in hexadecimal digits.
void KeepSecret(const SSL* ssl, const char* line);

}  // namespace sluice::tls
