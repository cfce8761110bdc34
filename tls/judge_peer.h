// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "tls/openssl.h"

// The callback that Context gives to OpenSSL, for this directory only.
namespace sluice::tls {

// Whether the handshake's stream accepts the peer that has shown `chain`: 1 or 0. OpenSSL passes
// `unused`.
int JudgePeer(X509_STORE_CTX* chain, void* unused);

}  // namespace sluice::tls
