// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "tls/openssl.h"
#include "tls/spiffe_id.h"

// Certificates as OpenSSL has them. All functions throw std::invalid_argument, whose what() is a
// part of a sentence: "the certificate has no URI".
namespace sluice::tls {

using Time = std::chrono::system_clock::time_point;

// Every certificate of a PEM file, in its order; never empty. Other blocks of the file are skipped,
// but one that is cut off or damaged makes the whole file wrong.
std::vector<UniqueX509> ReadCertificates(std::string_view pem);

// The private key of a PEM file. One with a passphrase is refused; nobody is asked for it.
UniqueKey ReadPrivateKey(std::string_view pem);

// The SPIFFE ID of a workload's certificate that has the form that X509-SVID.md demands: exactly
// one URI, no authority to sign others, digitalSignature, and both client and server where the
// usage is restricted. Who signed it is not looked at.
SpiffeId SvidId(X509* certificate);

Time NotBefore(const X509* certificate);
Time NotAfter(const X509* certificate);

// The roots of one trust domain. Each has a store of its own: while one root replaces another both
// may have the same name, and in one store OpenSSL would try only the first.
using TrustRoots = std::vector<UniqueStore>;

// All of `roots` have to be certificate authorities.
TrustRoots MakeTrustRoots(const std::vector<UniqueX509>& roots);

// That a chain leads from `leaf` over some of `others`, which nobody trusts, to one of `roots`, and
// that all of it is valid at `now`.
void RequireChain(const TrustRoots& roots, X509* leaf, STACK_OF(X509) * others, Time now);

}  // namespace sluice::tls
