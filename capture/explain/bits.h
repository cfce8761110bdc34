// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>

#include "capture/explain/program.h"
#include "capture/explain/test.h"

// Internal to the walk: values of which only some bits may be known, and what can be said of them.
namespace sluice::capture::explain {

// Partly known bytes: a bit of `value` is valid if the same bit of `known` is set.
struct Bits {
  ByteString value;
  ByteString known;

  bool whole() const;
  // The number in host byte order, of up to 4 bytes.
  std::uint32_t AsHost32() const;
  std::uint32_t KnownAsHost32() const;
};

Bits Whole(ByteString value);
Bits UnknownBytes(std::size_t size);
// Up to `size` bytes from `at` on.
Bits Part(const Bits& bits, std::size_t at, std::size_t size);

// The smallest and largest possible values, as memcmp orders them.
ByteString Least(const Bits& bits);
ByteString Greatest(const Bits& bits);

// Whether `bits` begin with `value`.
Meets Equal(const Bits& bits, const ByteString& value);
// Whether they are in the range, ends included, as memcmp orders values.
Meets Between(const Bits& bits, const ByteString& first, const ByteString& last);

}  // namespace sluice::capture::explain
