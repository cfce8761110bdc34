// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>

// For all targets. A target is a NAME_fuzz.cc with this function, which returns 0, and a line in
// CMakeLists.txt.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace sluice::fuzz {

// A property that must hold for every input; libFuzzer saves an input that violates it.
inline void Require(bool holds, const char* property) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", property);
  std::abort();
}

// Both directions of a connection, and the size of the pieces in which they arrive.
struct Streams {
  std::size_t piece = 1;
  std::span<const std::uint8_t> client;
  std::span<const std::uint8_t> server;
};

// A byte for the size of the pieces, two for the client's bytes, and then all of them. Nothing when
// the input is too short for that.
inline std::optional<Streams> TakeStreams(std::span<const std::uint8_t> input) {
  if (input.size() < 3) return std::nullopt;
  const std::span<const std::uint8_t> all = input.subspan(3);
  const std::size_t from_client =
      std::min<std::size_t>(all.size(), input[1] | static_cast<std::size_t>(input[2]) << 8);
  return Streams{.piece = std::size_t{input[0]} + 1,
                 .client = all.first(from_client),
                 .server = all.subspan(from_client)};
}

}  // namespace sluice::fuzz
