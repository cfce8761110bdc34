// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/stream/kernel_records.h"

#include <unistd.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "tls/stream/stream.h"

namespace sluice::tls {
namespace {

// The keys of RFC 8448, section 3: the server's application data.
TEST(ExpandLabelTest, MakesTheKeysOfRfc8448) {
  TrafficSecret secret;
  const auto from_hex = [](std::string_view digits, std::span<std::uint8_t> out) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] =
          static_cast<std::uint8_t>(std::stoi(std::string(digits.substr(2 * i, 2)), nullptr, 16));
    }
  };
  secret.Set("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
  ASSERT_EQ(secret.size, 32U);
  std::array<std::uint8_t, 16> key{};
  std::array<std::uint8_t, 16> expected_key{};
  from_hex("9f02283b6c9c07efc26bb9f2ac92e356", expected_key);
  ASSERT_TRUE(ExpandLabel(secret, "key", key));
  EXPECT_EQ(key, expected_key);
  std::array<std::uint8_t, 12> iv{};
  std::array<std::uint8_t, 12> expected_iv{};
  from_hex("cf782b88dd83549aadf1e984", expected_iv);
  ASSERT_TRUE(ExpandLabel(secret, "iv", iv));
  EXPECT_EQ(iv, expected_iv);
}

TEST(CountTakenTest, LooksAgainWhileBytesAreConfirmed) {
  // 100 bytes, of which 10 are confirmed during the first look, and 20 during the second.
  const std::uint64_t waiting[] = {100, 90, 70, 70};
  const std::uint64_t confirmed[] = {0, 10, 30};
  std::size_t next_waiting = 0;
  std::size_t next_confirmed = 0;
  const TakenBytes taken = CountTaken([&] { return waiting[next_waiting++]; },
                                      [&] { return confirmed[next_confirmed++]; });
  EXPECT_TRUE(taken.exact);
  EXPECT_EQ(taken.bytes, 100U);
  EXPECT_EQ(next_confirmed, 3U);
}

TEST(CountTakenTest, SaysWhatThereIsAtLeastWhenTheyNeverStop) {
  std::uint64_t confirmed = 0;
  int looks = 0;
  const TakenBytes taken = CountTaken(
      [&] {
        // A byte more each time, before it is looked for.
        ++confirmed;
        return 1000 - confirmed;
      },
      [&] {
        ++looks;
        return confirmed;
      });
  EXPECT_FALSE(taken.exact);
  EXPECT_EQ(taken.bytes, 999U);
  EXPECT_EQ(looks, kMostLooks);
}

TEST(WhyNoKernelRecordsTest, SaysWhatIsMissing) {
  const bool has = ::access("/proc/net/tls_stat", F_OK) == 0;
  EXPECT_EQ(WhyNoKernelRecords(), has ? "" : "the module tls is not loaded");
}

}  // namespace
}  // namespace sluice::tls
