// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/webhook/credentials.h"

#include <cstddef>
#include <fstream>
#include <iterator>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/system/error_code.hpp>

#include "base/error.h"
#include "tls/certificate.h"

namespace sluice::inject::webhook {

std::string ReadPem(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file || text.empty()) {
    throw Error(ErrorKind::kUsage, {.doing = "read the certificate and its key",
                                    .target = path,
                                    .why = text.empty() && file ? "it is empty"
                                                                : "no such file, "
                                                                  "or no permission to read it",
                                    .help = "`sluice-inject certificate` makes both"});
  }
  return text;
}

std::shared_ptr<Credentials> MakeCredentials(std::string certificate, std::string key,
                                             const std::string& name) {
  namespace ssl = boost::asio::ssl;
  auto out = std::make_shared<Credentials>();
  out->expiry = tls::ExpiryOf(certificate, name);
  out->context.set_options(ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 |
                           ssl::context::no_compression);
  SSL_CTX_set_options(out->context.native_handle(), SSL_OP_NO_RENEGOTIATION);
  // A key with a passphrase is an error, not a question on the terminal.
  out->context.set_password_callback(
      [](std::size_t, ssl::context::password_purpose) { return std::string(); });
  boost::system::error_code error;
  out->context.use_certificate_chain(boost::asio::buffer(certificate), error);
  if (!error) out->context.use_private_key(boost::asio::buffer(key), ssl::context::pem, error);
  if (error) {
    throw Error(ErrorKind::kUsage, {.doing = "use the certificate and its key",
                                    .target = name,
                                    .why = error.message(),
                                    .help = {}});
  }
  out->certificate = std::move(certificate);
  out->key = std::move(key);
  return out;
}

}  // namespace sluice::inject::webhook
