// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "capture/explain/condition.h"

// An nf_tables rule as the walk runs it: a program on registers (linux/netfilter/nf_tables.h).
// Parts that Sluice does not know are kept as unknown.
namespace sluice::capture::explain {

using ByteString = std::vector<std::uint8_t>;

// A range of bytes in the registers, which have 64 bytes.
struct Slot {
  std::uint8_t at = 0;
  std::uint8_t size = 0;
};
inline constexpr std::size_t kRegisterBytes = 64;

struct Load {
  enum class From : std::uint8_t {
    kConstant,   // `value`
    kMeta,       // `key` is of enum nft_meta_keys
    kCt,         // enum nft_ct_keys
    kNetwork,    // `key` is an offset into the header
    kTransport,  // the same
    kFibType,    // RTN_* of the destination, or of the source for a `key` of 1
    kSocket,     // whether the socket that takes the packet is transparent
    kUnknown
  };
  From from = From::kUnknown;
  std::uint32_t key = 0;
  Slot to = {};
  ByteString value = {};
};
// to = (from & mask) ^ bits
struct MaskBits {
  Slot from;
  Slot to;
  ByteString mask;
  ByteString bits;
};
struct SwapBytes {
  Slot from;
  Slot to;
  std::uint8_t unit = 0;
};
// The numbers are those of enum nft_cmp_ops. The rule ends here if the comparison fails.
struct Compare {
  Slot from;
  std::uint8_t operation = 0;
  ByteString value;
};
struct Within {
  Slot from;
  bool negated = false;
  ByteString first;
  ByteString last;
};
// `set` is an index into the table's sets. A verdict map has no `to`.
struct Lookup {
  std::size_t set = 0;
  Slot from;
  bool negated = false;
  std::optional<Slot> to = {};
  bool verdicts = false;
};
// meta mark set, ct mark set
struct StoreMark {
  Slot from;
  bool of_connection = false;
};
// dnat, redirect: a missing part is left unchanged.
struct NatTo {
  bool to_self = false;
  std::optional<Slot> address = {};
  std::optional<Slot> last_address = {};
  std::optional<Slot> port = {};
  std::optional<Slot> last_port = {};
  bool random = false;  // random choice, which is not modelled
};
// The rule ends here if there is no transparent socket.
struct TproxyTo {
  std::optional<Slot> port = {};
};
struct Check {
  Test test;
};
struct Act {
  Action action;
  std::size_t leads_to = static_cast<std::size_t>(-1);
};
using Op = std::variant<Load, MaskBits, SwapBytes, Compare, Within, Lookup, StoreMark, NatTo,
                        TproxyTo, Check, Act>;
using Program = std::vector<Op>;

// One element: a key, or an interval of keys.
struct SetItem {
  ByteString first;
  ByteString last;
  ByteString data = {};             // of a map
  std::optional<Act> verdict = {};  // of a verdict map
};
struct SetModel {
  std::string name;
  std::size_t key_bytes = 0;
  std::size_t data_bytes = 0;
  // Sorted by `first`, and disjoint where the key has one field.
  std::vector<SetItem> items = {};
  // The field sizes of a concatenated key, each padded to 4 bytes in the registers; empty for a key
  // that is compared as a whole.
  std::vector<std::uint8_t> fields = {};
  std::optional<SetItem> otherwise = {};  // the element "*"
  // Some elements could not be read, or rules add elements.
  bool unknown = false;
};

}  // namespace sluice::capture::explain
