// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/spiffe_id.h"

#include <algorithm>
#include <stdexcept>

namespace sluice::tls {
namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr std::string_view kAnySegment = "*";
constexpr std::string_view kAnyRest = "**";

// Not isalnum(3), which depends on the locale.
bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsMark(char c) { return c == '.' || c == '-' || c == '_'; }
bool IsDomainByte(char c) { return IsLowerOrDigit(c) || IsMark(c); }
bool IsPathByte(char c) { return IsDomainByte(c) || (c >= 'A' && c <= 'Z'); }

bool IsSegment(std::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), IsPathByte);
}

struct Parts {
  std::string_view trust_domain;
  std::string_view path;  // with the leading '/'
};

Parts Split(std::string_view text) {
  if (text.size() > kMaxSpiffeIdBytes) {
    throw std::invalid_argument("a SPIFFE ID of at most 2048 bytes");
  }
  if (!text.starts_with(kScheme)) {
    throw std::invalid_argument("a SPIFFE ID, such as spiffe://cluster.local/ns/shop/sa/cart");
  }
  text.remove_prefix(kScheme.size());
  const std::size_t slash = std::min(text.find('/'), text.size());
  const Parts parts{.trust_domain = text.substr(0, slash), .path = text.substr(slash)};
  if (!IsTrustDomain(parts.trust_domain)) {
    throw std::invalid_argument(
        "a SPIFFE ID whose trust domain is 1 to 255 of a-z, 0-9, '.', '-' and '_'");
  }
  if (parts.path.empty()) throw std::invalid_argument("a SPIFFE ID with a path");
  return parts;
}

// The segments of `path`, which starts with '/'.
std::vector<std::string_view> Segments(std::string_view path) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::size_t end = std::min(path.find('/'), path.size());
    out.push_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return out;
}

[[noreturn]] void RefuseSegment() {
  throw std::invalid_argument(
      "a SPIFFE ID whose path has segments of a-z, A-Z, 0-9, '.', '-' and '_', none of them empty, "
      "\".\" or \"..\"");
}

}  // namespace

bool IsTrustDomain(std::string_view text) {
  return !text.empty() && text.size() <= kMaxTrustDomainBytes &&
         std::all_of(text.begin(), text.end(), IsDomainByte);
}

SpiffeId SpiffeId::Parse(std::string_view text) {
  const Parts parts = Split(text);
  for (const std::string_view segment : Segments(parts.path)) {
    if (!IsSegment(segment)) RefuseSegment();
  }
  return {std::string(text), text.size() - parts.path.size()};
}

std::string_view SpiffeId::trust_domain() const {
  return std::string_view(text_).substr(kScheme.size(), path_at_ - kScheme.size());
}

std::string_view SpiffeId::path() const { return std::string_view(text_).substr(path_at_); }

SpiffePattern SpiffePattern::Parse(std::string_view text) {
  const Parts parts = Split(text);
  SpiffePattern out;
  out.text_ = text;
  out.trust_domain_ = parts.trust_domain;
  const std::vector<std::string_view> segments = Segments(parts.path);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const std::string_view segment = segments[i];
    if (segment == kAnyRest && i + 1 < segments.size()) {
      throw std::invalid_argument("a pattern with \"**\" only as its last segment");
    }
    if (segment != kAnySegment && segment != kAnyRest && !IsSegment(segment)) RefuseSegment();
    out.segments_.emplace_back(segment);
  }
  return out;
}

bool SpiffePattern::Matches(const SpiffeId& id) const {
  if (id.trust_domain() != trust_domain_) return false;
  const std::vector<std::string_view> segments = Segments(id.path());
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    if (i == segments.size()) return false;
    if (segments_[i] == kAnyRest) return true;
    if (segments_[i] != kAnySegment && segments_[i] != segments[i]) return false;
  }
  return segments.size() == segments_.size();
}

}  // namespace sluice::tls
