// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::tls {

// The longest SPIFFE ID and the longest trust domain, in bytes (SPIFFE-ID.md, section 2.3).
inline constexpr std::size_t kMaxSpiffeIdBytes = 2048;
inline constexpr std::size_t kMaxTrustDomainBytes = 255;

// The name of a workload: spiffe://cluster.local/ns/shop/sa/cart. Each has only one spelling, so
// that equal names are equal bytes: no percent-encoding, no port, no query, no empty, "." or ".."
// segment. The path is never empty, as in a workload's certificate.
class SpiffeId {
 public:
  // Throws std::invalid_argument whose what() says what is expected.
  static SpiffeId Parse(std::string_view text);

  std::string_view trust_domain() const;  // "cluster.local"
  std::string_view path() const;          // "/ns/shop/sa/cart"
  const std::string& ToString() const { return text_; }

  auto operator<=>(const SpiffeId&) const = default;

 private:
  SpiffeId(std::string text, std::size_t path_at) : text_(std::move(text)), path_at_(path_at) {}

  std::string text_;
  std::size_t path_at_;
};

// Matches workloads: a SPIFFE ID in which a path segment may be "*", for any single segment, and
// the last one "**", for one or more segments. The trust domain is always literal, because each has
// its own certificate authority.
class SpiffePattern {
 public:
  // Throws std::invalid_argument, as SpiffeId::Parse does.
  static SpiffePattern Parse(std::string_view text);

  bool Matches(const SpiffeId& id) const;
  const std::string& ToString() const { return text_; }

  bool operator==(const SpiffePattern&) const = default;

 private:
  std::string text_;
  std::string trust_domain_;
  std::vector<std::string> segments_;
};

// Whether `text` is a valid trust domain name: 1 to 255 of a-z, 0-9, '.', '-' and '_'.
bool IsTrustDomain(std::string_view text);

}  // namespace sluice::tls
