// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <memory>

// Owning pointers to OpenSSL's objects, for this directory only.
namespace sluice::tls {

template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

using UniqueBio = std::unique_ptr<BIO, FreeWith<BIO_free>>;
using UniqueX509 = std::unique_ptr<X509, FreeWith<X509_free>>;
using UniqueKey = std::unique_ptr<EVP_PKEY, FreeWith<EVP_PKEY_free>>;
using UniqueStore = std::unique_ptr<X509_STORE, FreeWith<X509_STORE_free>>;
using UniqueStoreContext = std::unique_ptr<X509_STORE_CTX, FreeWith<X509_STORE_CTX_free>>;
using UniqueNames = std::unique_ptr<GENERAL_NAMES, FreeWith<GENERAL_NAMES_free>>;

struct FreeStack {
  // Only the stack: others own its elements.
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};
using UniqueStack = std::unique_ptr<STACK_OF(X509), FreeStack>;

}  // namespace sluice::tls
