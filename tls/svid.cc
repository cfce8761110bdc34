// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/svid.h"

#include <openssl/err.h>

#include <ctime>
#include <new>
#include <stdexcept>

namespace sluice::tls {
namespace {

// Workloads' chains have one or two intermediates; more only cost time.
constexpr int kMaxIntermediates = 8;
// 112 bits: RSA from 2048 bits, no SHA-1 signatures (SSL_CTX_set_security_level(3)).
constexpr int kAuthLevel = 2;

// OpenSSL's errors are in a per-thread queue, where the next call would find them.
class ErrorQueue {
 public:
  ErrorQueue() { ERR_clear_error(); }
  ~ErrorQueue() { ERR_clear_error(); }
  ErrorQueue(const ErrorQueue&) = delete;
  ErrorQueue& operator=(const ErrorQueue&) = delete;
};

UniqueBio Bytes(std::string_view text) {
  UniqueBio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  if (!bio) throw std::bad_alloc();
  return bio;
}

// Without it OpenSSL would ask on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

Time ToTime(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) {
    throw std::invalid_argument("the certificate has a time that cannot be read");
  }
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

// The only URI among the alternative names. With two, readers could see different identities.
std::string_view OnlyUri(const GENERAL_NAMES* names) {
  const ASN1_IA5STRING* uri = nullptr;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    if (uri != nullptr) throw std::invalid_argument("the certificate has more than one URI");
    uri = name->d.uniformResourceIdentifier;
  }
  if (uri == nullptr) throw std::invalid_argument("the certificate has no URI");
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
          static_cast<std::size_t>(ASN1_STRING_length(uri))};
}

// X509_V_OK when a chain leads from `leaf` to `store`.
int VerifyUnder(X509_STORE* store, X509* leaf, STACK_OF(X509) * others, Time now) {
  const ErrorQueue errors;
  const UniqueStoreContext context(X509_STORE_CTX_new());
  if (!context || X509_STORE_CTX_init(context.get(), store, leaf, others) != 1) {
    throw std::bad_alloc();
  }
  X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(context.get()),
                             std::chrono::system_clock::to_time_t(now));
  if (X509_verify_cert(context.get()) == 1) return X509_V_OK;
  const int code = X509_STORE_CTX_get_error(context.get());
  // A failure for lack of memory may not set a reason.
  return code == X509_V_OK ? X509_V_ERR_UNSPECIFIED : code;
}

// Whether `code` is the error of a chain under another root.
bool IsOtherRoot(int code) {
  return code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
         code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
         code == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
         code == X509_V_ERR_CERT_SIGNATURE_FAILURE;
}

}  // namespace

std::vector<UniqueX509> ReadCertificates(std::string_view pem) {
  const ErrorQueue errors;
  const UniqueBio bio = Bytes(pem);
  std::vector<UniqueX509> out;
  while (UniqueX509 certificate{PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr)}) {
    out.push_back(std::move(certificate));
  }
  // OpenSSL reports the end of the file like this.
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
    throw std::invalid_argument("a certificate is damaged or cut off");
  }
  if (out.empty()) throw std::invalid_argument("there is no certificate in PEM form");
  return out;
}

UniqueKey ReadPrivateKey(std::string_view pem) {
  const ErrorQueue errors;
  const UniqueBio bio = Bytes(pem);
  UniqueKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (!key) throw std::invalid_argument("there is no private key in PEM form without a passphrase");
  return key;
}

SpiffeId SvidId(X509* certificate) {
  const ErrorQueue errors;
  // Parses the extensions, and reports invalid ones.
  const std::uint32_t flags = X509_get_extension_flags(certificate);
  if ((flags & EXFLAG_INVALID) != 0) {
    throw std::invalid_argument("the certificate has an extension that cannot be read");
  }
  if ((flags & EXFLAG_CA) != 0) {
    throw std::invalid_argument("the certificate is one of a certificate authority");
  }
  // All bits are set if the extension is missing, which does not count as permission here.
  if ((flags & EXFLAG_KUSAGE) == 0) {
    throw std::invalid_argument("the certificate has no key usage");
  }
  const std::uint32_t usage = X509_get_key_usage(certificate);
  if ((usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0) {
    throw std::invalid_argument("the certificate may sign others");
  }
  if ((usage & KU_DIGITAL_SIGNATURE) == 0) {
    throw std::invalid_argument("the certificate's key usage lacks digitalSignature");
  }
  constexpr std::uint32_t kBoth = XKU_SSL_CLIENT | XKU_SSL_SERVER;
  if ((flags & EXFLAG_XKUSAGE) != 0 &&
      (X509_get_extended_key_usage(certificate) & kBoth) != kBoth) {
    throw std::invalid_argument("the certificate is not for both clients and servers");
  }
  int critical = 0;
  const UniqueNames names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, nullptr)));
  // -1: none; -2: several; null with another value: unreadable.
  if (!names) {
    throw std::invalid_argument(critical == -1 ? "the certificate has no URI"
                                               : "the certificate's names cannot be read");
  }
  try {
    return SpiffeId::Parse(OnlyUri(names.get()));
  } catch (const std::invalid_argument& error) {
    const std::string_view what = error.what();
    if (what.starts_with("the certificate")) throw;
    throw std::invalid_argument("the certificate's URI is not " + std::string(what));
  }
}

Time NotBefore(const X509* certificate) { return ToTime(X509_get0_notBefore(certificate)); }
Time NotAfter(const X509* certificate) { return ToTime(X509_get0_notAfter(certificate)); }

TrustRoots MakeTrustRoots(const std::vector<UniqueX509>& roots) {
  const ErrorQueue errors;
  TrustRoots out;
  for (const UniqueX509& root : roots) {
    // 1 means basicConstraints say so; other values are guesses about old certificates.
    if (X509_check_ca(root.get()) != 1) {
      throw std::invalid_argument("a root is not a certificate authority");
    }
    UniqueStore store(X509_STORE_new());
    if (!store || X509_STORE_add_cert(store.get(), root.get()) != 1) throw std::bad_alloc();
    X509_VERIFY_PARAM* param = X509_STORE_get0_param(store.get());
    // As in Go's crypto/x509, with which issuers test these certificates: everything in the bundle
    // is an anchor, even an intermediate.
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_depth(param, kMaxIntermediates);
    X509_VERIFY_PARAM_set_auth_level(param, kAuthLevel);
    out.push_back(std::move(store));
  }
  return out;
}

void RequireChain(const TrustRoots& roots, X509* leaf, STACK_OF(X509) * others, Time now) {
  std::string why;
  for (const UniqueStore& root : roots) {
    const int code = VerifyUnder(root.get(), leaf, others, now);
    if (code == X509_V_OK) return;
    // With several roots, the one that the chain leads to gives the better reason.
    if (why.empty() || !IsOtherRoot(code)) why = X509_verify_cert_error_string(code);
  }
  throw std::invalid_argument(why);
}

}  // namespace sluice::tls
