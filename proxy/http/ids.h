// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace sluice::proxy {

// Ids of requests and spans: unique, but not secret. By xoshiro256**, in a few nanoseconds; a
// system call for each would cost as much as the rest of a request's head. Used by one thread.
class IdSource {
 public:
  // Seeded by the kernel. Throws std::exception if that fails.
  IdSource();
  // The same ids each time, for tests.
  explicit IdSource(std::uint64_t seed);

  std::uint64_t Next();
  // Never 0, which is no valid id (openzipkin/b3-propagation).
  std::uint64_t NextSpan();
  // A version 4 UUID (RFC 9562), in lower case.
  std::string NextUuid();

 private:
  void Seed(std::uint64_t seed);

  std::array<std::uint64_t, 4> state_{};
};

// 16 digits in lower case.
void AppendHex64(std::uint64_t value, std::string& out);

}  // namespace sluice::proxy
