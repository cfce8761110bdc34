// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/sniff/mutual_tls_offer.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/sniff/sniff.h"
#include "test/unit/proxy/client_hello.h"

namespace sluice::proxy {
namespace {

using HelloBytes = std::vector<std::uint8_t>;

// kTls13HelloHex with another first name in its list of ALPN protocols, of the same length: 8.
HelloBytes Offering(std::string_view name) {
  HelloBytes out = FromHex(kTls13HelloHex);
  constexpr std::string_view kBefore = "http/1.1";
  const auto at = std::search(out.begin(), out.end(), kBefore.begin(), kBefore.end());
  EXPECT_NE(at, out.end());
  std::copy(name.begin(), name.end(), at);
  return out;
}

// The same message in records of `size` bytes.
HelloBytes InRecordsOf(const HelloBytes& hello, std::size_t size) {
  HelloBytes out;
  for (std::size_t at = 5; at < hello.size(); at += size) {
    const std::size_t part = std::min(size, hello.size() - at);
    out.insert(out.end(),
               {22, 3, 1, static_cast<std::uint8_t>(part >> 8), static_cast<std::uint8_t>(part)});
    out.insert(out.end(), hello.begin() + static_cast<std::ptrdiff_t>(at),
               hello.begin() + static_cast<std::ptrdiff_t>(at + part));
  }
  return out;
}

TEST(MutualTlsOffer, IsToldByTheProtocolsOfIstio) {
  EXPECT_EQ(OffersMutualTls(Offering("istio-h2")), MtlsOffer::kYes);
  EXPECT_EQ(OffersMutualTls(Offering("Istio-h2")), MtlsOffer::kNo);
  EXPECT_EQ(OffersMutualTls(Offering("xistio-h")), MtlsOffer::kNo);
  EXPECT_EQ(OffersMutualTls(FromHex(kTls13HelloHex)), MtlsOffer::kNo);
  EXPECT_EQ(OffersMutualTls(FromHex(kTls12HelloHex)), MtlsOffer::kNo);
  EXPECT_EQ(OffersMutualTls(FromHex(kNamelessHelloHex)), MtlsOffer::kNo);
}

TEST(MutualTlsOffer, MayComeInPieces) {
  const HelloBytes hello = Offering("istio-h2");
  for (const std::size_t record : {std::size_t{1}, std::size_t{7}, std::size_t{300}}) {
    const HelloBytes pieces = InRecordsOf(hello, record);
    for (std::size_t size = 0; size < pieces.size(); ++size) {
      ASSERT_EQ(OffersMutualTls(std::span(pieces).first(size)), MtlsOffer::kNeedMore)
          << size << " of records of " << record;
    }
    EXPECT_EQ(OffersMutualTls(pieces), MtlsOffer::kYes) << record;
  }
  // With what follows in the same segment.
  HelloBytes more = hello;
  more.insert(more.end(), 100, 0);
  EXPECT_EQ(OffersMutualTls(more), MtlsOffer::kYes);
}

TEST(MutualTlsOffer, IsDeniedAtTheFirstByteThatDoesNotFit) {
  for (const std::string_view bytes :
       {"G", "\x16\x02", "\x15", "\x16\x03\x01\x40\x01", "\x16\x03\x01\x01\x01\x02"}) {
    const HelloBytes hello(bytes.begin(), bytes.end());
    EXPECT_EQ(OffersMutualTls(hello), MtlsOffer::kNo) << bytes;
  }
  const HelloBytes empty_record = {22, 3, 1, 0, 0};
  EXPECT_EQ(OffersMutualTls(empty_record), MtlsOffer::kNo);
  // Lengths that lead beyond the part around them.
  const HelloBytes hello = Offering("istio-h2");
  for (std::size_t at = 43; at + 1 < hello.size(); ++at) {
    HelloBytes broken = hello;
    broken[at] = 0xff;
    EXPECT_NE(OffersMutualTls(broken), MtlsOffer::kNeedMore) << at;
  }
}

TEST(MutualTlsOffer, IsBounded) {
  // A message of 16 KiB that never ends.
  HelloBytes endless;
  while (endless.size() < kMaxSniffBytes) endless.insert(endless.end(), {22, 3, 1, 0, 1, 1});
  for (std::size_t i = 0; i + 6 <= endless.size(); i += 6) endless[i + 5] = i == 0 ? 1 : 0;
  endless[11] = 0;
  EXPECT_NE(OffersMutualTls(endless), MtlsOffer::kNeedMore);
}

}  // namespace
}  // namespace sluice::proxy
