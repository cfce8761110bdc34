// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/ids.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <random>

namespace sluice::proxy {

IdSource::IdSource() {
  std::random_device device;
  for (std::uint64_t& word : state_) word = std::uint64_t{device()} << 32 | device();
  // A state of zeros would never change.
  state_[0] |= 1;
}

IdSource::IdSource(std::uint64_t seed) { Seed(seed); }

// By splitmix64, as the authors of xoshiro advise.
void IdSource::Seed(std::uint64_t seed) {
  for (std::uint64_t& word : state_) {
    seed += 0x9e3779b97f4a7c15;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    word = z ^ (z >> 31);
  }
}

std::uint64_t IdSource::Next() {
  const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

std::uint64_t IdSource::NextSpan() {
  while (true) {
    if (const std::uint64_t id = Next(); id != 0) return id;
  }
}

namespace {

using HexDigits = std::array<char, 16>;

HexDigits Hex64(std::uint64_t value) {
  HexDigits digits;
  for (std::size_t i = digits.size(); i-- > 0; value >>= 4) {
    digits[i] = "0123456789abcdef"[value & 15];
  }
  return digits;
}

}  // namespace

void AppendHex64(std::uint64_t value, std::string& out) {
  const HexDigits digits = Hex64(value);
  out.append(digits.data(), digits.size());
}

std::string IdSource::NextUuid() {
  // The version is 4, the variant 10.
  const HexDigits high = Hex64((Next() & ~std::uint64_t{0xf000}) | 0x4000);
  const HexDigits low = Hex64((Next() & ~(std::uint64_t{3} << 62)) | std::uint64_t{2} << 62);
  std::string uuid(36, '-');
  std::copy_n(&high[0], 8, &uuid[0]);
  std::copy_n(&high[8], 4, &uuid[9]);
  std::copy_n(&high[12], 4, &uuid[14]);
  std::copy_n(&low[0], 4, &uuid[19]);
  std::copy_n(&low[4], 12, &uuid[24]);
  return uuid;
}

}  // namespace sluice::proxy
