// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tls {

// A certificate and its private key, in PEM.
struct KeyPair {
  std::string certificate;
  std::string key;
};

// A self-signed certificate authority with a new key (ECDSA P-256). Throws Error(kFailed).
KeyPair MakeAuthority(const std::string& name, std::chrono::seconds validity);

// A server certificate for these names (subjectAltName), signed by `authority`, with a new key.
// Both are valid since an hour ago, because clocks differ. Throws Error(kFailed).
KeyPair MakeServer(const KeyPair& authority, const std::vector<std::string>& names,
                   std::chrono::seconds validity);

// A workload's certificate for the SPIFFE ID `id`, which must be valid: an X509-SVID for both ends
// of a connection. Otherwise the same.
KeyPair MakeWorkload(const KeyPair& authority, const std::string& id,
                     std::chrono::seconds validity);

// The certificates in a PEM text, each as PEM, without the text between them. Throws Error(kUsage)
// if there is none, or an unreadable one; messages call the text `name`.
std::vector<std::string> CertificatesOf(std::string_view pem, const std::string& name);

// The expiry of the first certificate in a PEM text. Throws Error(kUsage).
std::chrono::sys_seconds ExpiryOf(std::string_view pem, const std::string& name);

}  // namespace sluice::tls
