// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/ids.h"

#include <bit>
#include <random>
#include <string_view>

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

void AppendHex64(std::uint64_t value, std::string& out) {
  for (int shift = 60; shift >= 0; shift -= 4) {
    out += "0123456789abcdef"[(value >> shift) & 15];
  }
}

std::string IdSource::NextUuid() {
  // The version is 4, the variant 10.
  const std::uint64_t high = (Next() & ~std::uint64_t{0xf000}) | 0x4000;
  const std::uint64_t low = (Next() & ~(std::uint64_t{3} << 62)) | std::uint64_t{2} << 62;
  std::string digits;
  AppendHex64(high, digits);
  AppendHex64(low, digits);
  std::string uuid;
  uuid.reserve(36);
  const std::string_view all = digits;
  uuid.append(all.substr(0, 8)).append("-").append(all.substr(8, 4)).append("-");
  uuid.append(all.substr(12, 4)).append("-").append(all.substr(16, 4)).append("-");
  uuid.append(all.substr(20));
  return uuid;
}

}  // namespace sluice::proxy
