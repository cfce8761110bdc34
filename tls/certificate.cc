// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/certificate.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include <array>
#include <ctime>
#include <memory>

#include "base/error.h"
#include "tls/openssl.h"

namespace sluice::tls {
namespace {

using UniqueExtension = std::unique_ptr<X509_EXTENSION, FreeWith<X509_EXTENSION_free>>;

// Translates OpenSSL's errors.
Error Failure(std::string doing, ErrorKind kind = ErrorKind::kFailed, std::string target = {}) {
  std::array<char, 256> text{};
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code != 0) ERR_error_string_n(code, text.data(), text.size());
  return Error(kind, {.doing = std::move(doing),
                      .target = std::move(target),
                      .why = code == 0 ? "OpenSSL does not say why" : text.data(),
                      .help = {}});
}

void Check(bool good) {
  if (!good) throw Failure("make a certificate");
}

UniqueBio Reading(std::string_view text) {
  UniqueBio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  Check(bio != nullptr);
  return bio;
}

std::string Text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string ToPem(X509* certificate) {
  const UniqueBio bio(BIO_new(BIO_s_mem()));
  Check(bio != nullptr && PEM_write_bio_X509(bio.get(), certificate) == 1);
  return Text(bio.get());
}

std::string ToPem(EVP_PKEY* key) {
  const UniqueBio bio(BIO_new(BIO_s_mem()));
  Check(bio != nullptr &&
        PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return Text(bio.get());
}

UniqueX509 ReadCertificate(BIO* bio) {
  return UniqueX509(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr));
}

void AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const UniqueExtension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  Check(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

// Everything except the issuer and the signature. Without a name the subject is empty.
UniqueX509 Begin(EVP_PKEY* key, const std::string& name, std::chrono::seconds validity) {
  UniqueX509 certificate(X509_new());
  Check(certificate != nullptr && X509_set_version(certificate.get(), X509_VERSION_3) == 1);
  // Unique for each certificate of an issuer (RFC 5280, 4.1.2.2: at most 20 bytes, > 0).
  std::array<unsigned char, 16> serial{};
  Check(RAND_bytes(serial.data(), static_cast<int>(serial.size())) == 1);
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7fU) | 0x40U);
  const std::unique_ptr<BIGNUM, FreeWith<BN_free>> number(
      BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr));
  Check(number != nullptr &&
        BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) != nullptr);
  constexpr long kClockSkew = 3600;
  constexpr long kSecondsPerDay = 86400;
  Check(X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kClockSkew) != nullptr);
  Check(X509_time_adj_ex(X509_getm_notAfter(certificate.get()),
                         static_cast<int>(validity.count() / kSecondsPerDay),
                         static_cast<long>(validity.count() % kSecondsPerDay), nullptr) != nullptr);
  const auto* const common = reinterpret_cast<const unsigned char*>(name.c_str());
  Check(name.empty() || X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN",
                                                   MBSTRING_UTF8, common, -1, -1, 0) == 1);
  Check(X509_set_pubkey(certificate.get(), key) == 1);
  return certificate;
}

// Without it OpenSSL would ask on the terminal.
int NoPassword(char*, int, int, void*) { return -1; }

// What differs between the certificates that an authority signs.
struct Leaf {
  std::string subject;   // its common name; may be empty
  std::string extended;  // extKeyUsage
  std::string names;     // subjectAltName
};

KeyPair Sign(const KeyPair& authority, const Leaf& leaf, std::chrono::seconds validity) {
  const UniqueX509 issuer = ReadCertificate(Reading(authority.certificate).get());
  const UniqueKey issuer_key(
      PEM_read_bio_PrivateKey(Reading(authority.key).get(), nullptr, NoPassword, nullptr));
  if (!issuer || !issuer_key || X509_check_private_key(issuer.get(), issuer_key.get()) != 1) {
    throw Failure("use the certificate and the key of the authority");
  }
  const UniqueKey key(EVP_EC_gen("P-256"));
  Check(key != nullptr);
  const UniqueX509 certificate = Begin(key.get(), leaf.subject, validity);
  X509* const self = certificate.get();
  Check(X509_set_issuer_name(self, X509_get_subject_name(issuer.get())) == 1);
  AddExtension(self, issuer.get(), NID_basic_constraints, "critical,CA:FALSE");
  AddExtension(self, issuer.get(), NID_key_usage, "critical,digitalSignature");
  AddExtension(self, issuer.get(), NID_ext_key_usage, leaf.extended);
  AddExtension(self, issuer.get(), NID_authority_key_identifier, "keyid");
  AddExtension(self, issuer.get(), NID_subject_alt_name, leaf.names);
  Check(X509_sign(self, issuer_key.get(), EVP_sha256()) > 0);
  return {ToPem(self), ToPem(key.get())};
}

}  // namespace

KeyPair MakeAuthority(const std::string& name, std::chrono::seconds validity) {
  const UniqueKey key(EVP_EC_gen("P-256"));
  Check(key != nullptr);
  const UniqueX509 certificate = Begin(key.get(), name, validity);
  X509* const self = certificate.get();
  Check(X509_set_issuer_name(self, X509_get_subject_name(self)) == 1);
  AddExtension(self, self, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  AddExtension(self, self, NID_key_usage, "critical,keyCertSign,cRLSign");
  AddExtension(self, self, NID_subject_key_identifier, "hash");
  Check(X509_sign(self, key.get(), EVP_sha256()) > 0);
  return {ToPem(self), ToPem(key.get())};
}

KeyPair MakeServer(const KeyPair& authority, const std::vector<std::string>& names,
                   std::chrono::seconds validity) {
  std::string alternatives;
  for (const std::string& name : names) {
    alternatives += (alternatives.empty() ? "DNS:" : ",DNS:") + name;
  }
  // A common name is limited to 64 characters, and nobody checks it.
  return Sign(
      authority,
      {.subject = names.at(0).substr(0, 64), .extended = "serverAuth", .names = alternatives},
      validity);
}

KeyPair MakeWorkload(const KeyPair& authority, const std::string& id,
                     std::chrono::seconds validity) {
  // RFC 5280, 4.2.1.6: critical, because the subject is empty, as in certificates of Istio.
  return Sign(authority,
              {.subject = {}, .extended = "serverAuth,clientAuth", .names = "critical,URI:" + id},
              validity);
}

std::vector<std::string> CertificatesOf(std::string_view pem, const std::string& name) {
  const UniqueBio bio = Reading(pem);
  std::vector<std::string> out;
  while (const UniqueX509 certificate = ReadCertificate(bio.get())) {
    out.push_back(ToPem(certificate.get()));
  }
  // OpenSSL reports the end of the file like this.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (out.empty() || !at_end) throw Failure("read the certificates", ErrorKind::kUsage, name);
  ERR_clear_error();
  return out;
}

std::chrono::sys_seconds ExpiryOf(std::string_view pem, const std::string& name) {
  const UniqueX509 certificate = ReadCertificate(Reading(pem).get());
  std::tm time{};
  if (certificate == nullptr ||
      ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &time) != 1) {
    throw Failure("read the certificate", ErrorKind::kUsage, name);
  }
  return std::chrono::sys_seconds(std::chrono::seconds(::timegm(&time)));
}

}  // namespace sluice::tls
