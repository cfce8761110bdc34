// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "tls/openssl.h"
#include "tls/spiffe_id.h"

// Certificates as OpenSSL objects. All functions throw std::invalid_argument, whose what() is part
// of a sentence: "the certificate has no URI".
namespace sluice::tls {

using Time = std::chrono::system_clock::time_point;

// All certificates in a PEM file, in order; never empty. Other blocks are skipped, but a truncated
// or damaged block is an error.
std::vector<UniqueX509> ReadCertificates(std::string_view pem);

// The private key in a PEM file. One with a passphrase is refused without asking for it.
UniqueKey ReadPrivateKey(std::string_view pem);

// The SPIFFE ID of a workload's certificate in the form that X509-SVID.md requires: exactly one
// URI, not a signing authority, digitalSignature, and both client and server if the extended usage
// is restricted. Does not check the issuer.
SpiffeId SvidId(X509* certificate);

Time NotBefore(const X509* certificate);
Time NotAfter(const X509* certificate);

// The roots of one trust domain. Each has its own store: during a rotation two roots may have the
// same name, and in a shared store OpenSSL would try only the first.
using TrustRoots = std::vector<UniqueStore>;

// All `roots` must be certificate authorities.
TrustRoots MakeTrustRoots(const std::vector<UniqueX509>& roots);

// Requires a chain from `leaf` through some of `others`, which are not trusted, to one of `roots`,
// all valid at `now`.
void RequireChain(const TrustRoots& roots, X509* leaf, STACK_OF(X509) * others, Time now);

}  // namespace sluice::tls
