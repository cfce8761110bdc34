// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/stream/ssl_facts.h"

#include <array>
#include <cstddef>

#include "tls/openssl.h"

namespace sluice::tls {

std::optional<Stream::PeerCertificate> CertificateOf(const SSL* ssl) {
  const X509* const certificate = SSL_get0_peer_certificate(ssl);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (certificate == nullptr || X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) {
    return std::nullopt;
  }
  const UniqueBio text(BIO_new(BIO_s_mem()));
  Stream::PeerCertificate out;
  for (unsigned i = 0; i < size; ++i) {
    out.sha256_hex += "0123456789abcdef"[digest[i] >> 4];
    out.sha256_hex += "0123456789abcdef"[digest[i] & 15];
  }
  const X509_NAME* const name = X509_get_subject_name(certificate);
  if (text && X509_NAME_print_ex(text.get(), name, 0, XN_FLAG_RFC2253) >= 0) {
    char* data = nullptr;
    const long length = BIO_get_mem_data(text.get(), &data);
    if (length > 0) out.subject.assign(data, static_cast<std::size_t>(length));
  }
  return out;
}

std::string_view ServerName(const SSL* ssl) {
  const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : "";
}

std::string_view Protocol(const SSL* ssl) {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

}  // namespace sluice::tls
