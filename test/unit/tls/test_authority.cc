// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/unit/tls/test_authority.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#include <cstdint>
#include <stdexcept>

namespace sluice::tls {
namespace {

void Require(bool done, const char* what) {
  if (done) return;
  ERR_print_errors_fp(stderr);
  throw std::runtime_error(what);
}

void SetTime(ASN1_TIME* out, std::chrono::seconds offset) {
  Require(ASN1_TIME_set(out, std::chrono::system_clock::to_time_t(kTestNow + offset)) != nullptr,
          "set a time");
}

void AddExtension(X509* to, X509* issuer, int nid, const std::string& value) {
  if (value.empty()) return;
  X509V3_CTX context{};
  X509V3_set_ctx(&context, issuer, to, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  Require(extension != nullptr, "make an extension");
  const bool added = X509_add_ext(to, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  Require(added, "add an extension");
}

std::string Text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

std::string TestIdentity::Pem() const {
  const UniqueBio bio(BIO_new(BIO_s_mem()));
  Require(PEM_write_bio_X509(bio.get(), certificate.get()) == 1, "write a certificate");
  return Text(bio.get());
}

std::string TestIdentity::KeyPem(const std::string& passphrase) const {
  const UniqueBio bio(BIO_new(BIO_s_mem()));
  const bool written = PEM_write_bio_PKCS8PrivateKey(
                           bio.get(), key.get(), passphrase.empty() ? nullptr : EVP_aes_128_cbc(),
                           passphrase.empty() ? nullptr : passphrase.c_str(),
                           static_cast<int>(passphrase.size()), nullptr, nullptr) == 1;
  Require(written, "write a key");
  return Text(bio.get());
}

std::vector<std::uint8_t> TestIdentity::Der() const {
  unsigned char* data = nullptr;
  const int size = i2d_X509(certificate.get(), &data);
  Require(size > 0, "encode a certificate");
  std::vector<std::uint8_t> out(data, data + size);
  OPENSSL_free(data);
  return out;
}

TestIdentity Issue(const TestCertificate& what, const TestIdentity* issuer) {
  static long serial = 1;
  TestIdentity out;
  out.key.reset(what.rsa_bits == 0 ? EVP_EC_gen(what.curve)
                                   : EVP_RSA_gen(static_cast<unsigned int>(what.rsa_bits)));
  out.certificate.reset(X509_new());
  Require(out.key && out.certificate, "make a key");
  X509* certificate = out.certificate.get();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  SetTime(X509_getm_notBefore(certificate), what.from);
  SetTime(X509_getm_notAfter(certificate), what.until);
  X509_set_pubkey(certificate, out.key.get());
  if (!what.subject.empty()) {
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(what.subject.c_str()), -1, -1,
                               0);
  }
  X509* signer = issuer == nullptr ? certificate : issuer->certificate.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(signer));
  AddExtension(certificate, signer, NID_basic_constraints, what.constraints);
  AddExtension(certificate, signer, NID_key_usage, what.usage);
  AddExtension(certificate, signer, NID_ext_key_usage, what.extended);
  AddExtension(certificate, signer, NID_subject_alt_name, what.names);
  if (what.key_ids) {
    AddExtension(certificate, signer, NID_subject_key_identifier, "hash");
    AddExtension(certificate, signer, NID_authority_key_identifier, "keyid");
  }
  EVP_PKEY* key = issuer == nullptr ? out.key.get() : issuer->key.get();
  Require(X509_sign(certificate, key, what.sha1 ? EVP_sha1() : EVP_sha256()) > 0,
          "sign a certificate");
  return out;
}

}  // namespace sluice::tls
