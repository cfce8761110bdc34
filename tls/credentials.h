// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tls/spiffe_id.h"

// Of OpenSSL.
struct ssl_ctx_st;
struct stack_st_X509;
struct x509_st;

namespace sluice::tls {

struct TrustBundle {
  std::string trust_domain;
  std::string file;
};

// Where credentials come from.
struct CredentialSource {
  // With the files of one of kCredentialLayouts: certificate, key, and the roots of the own domain.
  std::string directory;
  // The roots of other trust domains.
  std::vector<TrustBundle> bundles;
};

// Who a peer is, or why that is not known.
struct PeerVerdict {
  std::optional<SpiffeId> id;  // verified, or nothing
  std::string why;             // why there is none: "unknown trust domain other.example"
};

// A workload's certificate, its key, and the roots of every trust domain that it knows: one version
// of all files, which is never changed. May be used by several threads at once.
class Credentials {
 public:
  using Time = std::chrono::system_clock::time_point;

  // All files together, or an Error that names the file and the reason. The key has to fit the
  // certificate, the certificate has to be a workload's, valid at `now` and signed under the own
  // roots: what is loaded is what a peer with the same roots accepts.
  static std::shared_ptr<const Credentials> Load(const CredentialSource& source, Time now);

  ~Credentials();
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  const SpiffeId& id() const;
  Time not_before() const;  // of the workload's own certificate
  Time not_after() const;
  std::string_view writer() const;                 // "cert-manager": whose file names they are
  std::vector<std::string> trust_domains() const;  // sorted

  // Two versions with the same digest were read from equal files.
  const std::array<std::uint8_t, 32>& digest() const;

  // Who has the certificate that comes first in `chain`, in DER form; the others are intermediates,
  // as TLS sends them. Only the roots of the trust domain that the certificate names count: another
  // domain's authority cannot make such a name. That the peer has the key is for TLS to prove.
  PeerVerdict VerifyPeer(std::span<const std::span<const std::uint8_t>> chain, Time now) const;

  // For the code of this directory alone, which has OpenSSL's objects. The same of `leaf`;
  // `others`, which may be null, may hold it as well.
  PeerVerdict VerifyPeer(x509_st* leaf, stack_st_X509* others, Time now) const;
  // Gives the certificate, the intermediates and the key. False when OpenSSL does not take them.
  bool PresentIn(ssl_ctx_st* context) const;

 private:
  struct State;

  explicit Credentials(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace sluice::tls
