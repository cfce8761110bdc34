// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Names of workloads, patterns for them, and certificates that contain them.
#include <algorithm>
#include <stdexcept>
#include <string_view>

#include "test/fuzz/fuzz.h"
#include "tls/spiffe_id.h"
#include "tls/svid.h"

namespace sluice::tls {
namespace {

using fuzz::Require;

void RequireId(const SpiffeId& id) {
  const std::string& text = id.ToString();
  Require(text.size() <= kMaxSpiffeIdBytes, "a name is not too long");
  Require(text == "spiffe://" + std::string(id.trust_domain()) + std::string(id.path()),
          "a name is its parts");
  Require(IsTrustDomain(id.trust_domain()) && id.path().size() > 1, "a name has both parts");
  Require(std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; }),
          "a name can be printed");
  Require(text.find_first_of("\"%*?#;,") == text.npos, "a name needs no quotes and is no pattern");
  Require(SpiffeId::Parse(text) == id, "text is read as written");
  Require(SpiffePattern::Parse(text).Matches(id), "a name matches itself");
}

void AsText(std::string_view text) {
  try {
    RequireId(SpiffeId::Parse(text));
  } catch (const std::invalid_argument&) {  // refused, as most inputs should be
  }
  try {
    const SpiffePattern pattern = SpiffePattern::Parse(text);
    Require(!pattern.Matches(SpiffeId::Parse("spiffe://not.there/x")) ||
                text.starts_with("spiffe://not.there/"),
            "a pattern keeps to its trust domain");
    Require(pattern.ToString() == text && SpiffePattern::Parse(pattern.ToString()) == pattern,
            "a pattern is read as written");
  } catch (const std::invalid_argument&) {
  }
}

void AsCertificate(const std::uint8_t* data, std::size_t size) {
  const unsigned char* at = data;
  const UniqueX509 certificate(d2i_X509(nullptr, &at, static_cast<long>(size)));
  if (!certificate) return;
  try {
    RequireId(SvidId(certificate.get()));
  } catch (const std::invalid_argument&) {
  }
}

}  // namespace
}  // namespace sluice::tls

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::tls::AsText({reinterpret_cast<const char*>(data), size});
  sluice::tls::AsCertificate(data, size);
  return 0;
}
