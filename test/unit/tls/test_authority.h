// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tls/openssl.h"

namespace sluice::tls {

// 2026-01-01 00:00:00 UTC. All tests set the time explicitly.
inline const std::chrono::system_clock::time_point kTestNow =
    std::chrono::system_clock::from_time_t(1767225600);

// The contents of a certificate; the defaults are a workload's, valid for an hour.
struct TestCertificate {
  std::string names = "URI:spiffe://cluster.local/ns/shop/sa/cart";  // as in openssl.cnf
  std::string constraints = "critical,CA:FALSE";
  std::string usage = "critical,digitalSignature";
  std::string extended = "serverAuth,clientAuth";
  std::string subject = {};
  std::chrono::seconds from{-60};
  std::chrono::seconds until{3600};
  bool key_ids = true;  // subject and authority key identifiers
  int rsa_bits = 0;     // an elliptic curve when 0
  const char* curve = "P-256";
  bool sha1 = false;  // of the signature on it
};

inline TestCertificate TestCa(std::string subject) {
  return {.names = {},
          .constraints = "critical,CA:TRUE",
          .usage = "critical,keyCertSign,cRLSign",
          .extended = {},
          .subject = std::move(subject)};
}

// A certificate with its key.
struct TestIdentity {
  UniqueX509 certificate;
  UniqueKey key;

  std::string Pem() const;
  std::string KeyPem(const std::string& passphrase = {}) const;
  std::vector<std::uint8_t> Der() const;
};

// Makes one, signed by `issuer`, or self-signed. Throws std::runtime_error.
TestIdentity Issue(const TestCertificate& what, const TestIdentity* issuer = nullptr);

}  // namespace sluice::tls
