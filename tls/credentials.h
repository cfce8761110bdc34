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

// The source of the credentials.
struct CredentialSource {
  // Has the files of one of kCredentialLayouts: certificate, key, and the roots of our own domain.
  std::string directory;
  // The roots of other trust domains.
  std::vector<TrustBundle> bundles;
};

// The identity of a peer, or why it is not known.
struct PeerVerdict {
  std::optional<SpiffeId> id;  // verified, or nothing
  std::string why;             // why there is no id: "unknown trust domain other.example"
};

// A workload's certificate, its key, and the roots of every known trust domain: one version of all
// files, which never changes. May be used by several threads at once.
class Credentials {
 public:
  using Time = std::chrono::system_clock::time_point;

  // Loads all files, or throws an Error that names the file and the reason. The key must match the
  // certificate, which must be a workload's, valid at `now` and signed under our own roots: a peer
  // with the same roots accepts exactly what loads.
  static std::shared_ptr<const Credentials> Load(const CredentialSource& source, Time now);

  ~Credentials();
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  const SpiffeId& id() const;
  Time not_before() const;  // of the workload's own certificate
  Time not_after() const;
  std::string_view writer() const;                 // "cert-manager": whose file names are used
  std::vector<std::string> trust_domains() const;  // sorted

  // Two versions have the same digest if they were read from equal files.
  const std::array<std::uint8_t, 32>& digest() const;

  // The identity in the first certificate of `chain`, in DER form; the others are intermediates, as
  // TLS sends them. Only the roots of the trust domain in the certificate count: another domain's
  // authority cannot issue such a name. TLS must prove that the peer has the key.
  PeerVerdict VerifyPeer(std::span<const std::span<const std::uint8_t>> chain, Time now) const;

  // For this directory only, with OpenSSL's objects. The same for `leaf`; `others`, which may be
  // null, may include it.
  PeerVerdict VerifyPeer(x509_st* leaf, stack_st_X509* others, Time now) const;
  // Loads the certificate, the intermediates and the key into `context`. False if OpenSSL refuses.
  bool PresentIn(ssl_ctx_st* context) const;

 private:
  struct State;

  explicit Credentials(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace sluice::tls
