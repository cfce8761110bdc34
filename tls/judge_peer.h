// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "tls/openssl.h"

// What Context tells OpenSSL to ask, for this directory alone.
namespace sluice::tls {

// Whether the stream that the handshake belongs to takes the peer that has shown `chain`: 1 or 0.
// OpenSSL passes `unused`.
int JudgePeer(X509_STORE_CTX* chain, void* unused);

}  // namespace sluice::tls
