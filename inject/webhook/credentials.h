// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <boost/asio/ssl/context.hpp>

namespace sluice::inject::webhook {

// The TLS settings of a connection, made from a certificate and its key. A connection keeps those
// that it began with.
struct Credentials {
  std::string certificate;  // PEM
  std::string key;
  std::chrono::sys_seconds expiry;
  boost::asio::ssl::context context{boost::asio::ssl::context::tls_server};
};

// The contents of a file that must not be empty. Throws Error(kUsage).
std::string ReadPem(const std::string& path);

// `name` is that of the certificate, for errors. Throws Error(kUsage) if `certificate` and `key`,
// both PEM, cannot be used together.
std::shared_ptr<Credentials> MakeCredentials(std::string certificate, std::string key,
                                             const std::string& name);

}  // namespace sluice::inject::webhook
