// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tls {

// A certificate and the private key of it, in PEM.
struct KeyPair {
  std::string certificate;
  std::string key;
};

// A certificate authority that signs itself, with a new key (ECDSA P-256). Throws Error(kFailed).
KeyPair MakeAuthority(const std::string& name, std::chrono::hours validity);

// The certificate of a server with these names (subjectAltName), signed by `authority`, with a new
// key. Both are valid from an hour ago on, because clocks differ. Throws Error(kFailed).
KeyPair MakeServer(const KeyPair& authority, const std::vector<std::string>& names,
                   std::chrono::hours validity);

// The certificates of a PEM text, each in PEM again, without what stands between them. Throws
// Error(kUsage) when there is none, or one that cannot be read; `name` is what to call the text.
std::vector<std::string> CertificatesOf(std::string_view pem, const std::string& name);

// When the first certificate of a PEM text ends. Throws Error(kUsage).
std::chrono::sys_seconds ExpiryOf(std::string_view pem, const std::string& name);

}  // namespace sluice::tls
