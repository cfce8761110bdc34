// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "capture/explain/condition.h"

// A rule of nf_tables as the walk carries it out: a program over registers
// (linux/netfilter/nf_tables.h), with what Sluice does not know in it as unknown.
namespace sluice::capture::explain {

using ByteString = std::vector<std::uint8_t>;

// Bytes of the registers, of which there are 64.
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
// The numbers are those of enum nft_cmp_ops. The rule ends here unless it holds.
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
// `set` is an index into the table's. A map of verdicts has no `to`.
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
// dnat, redirect: what is not there is kept.
struct NatTo {
  bool to_self = false;
  std::optional<Slot> address = {};
  std::optional<Slot> last_address = {};
  std::optional<Slot> port = {};
  std::optional<Slot> last_port = {};
  bool random = false;  // in a way that is not looked at
};
// Goes on where there is a transparent socket, otherwise the rule ends.
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

// One element: a key, or all between two of them.
struct SetItem {
  ByteString first;
  ByteString last;
  ByteString data = {};             // of a map
  std::optional<Act> verdict = {};  // of a map of verdicts
};
struct SetModel {
  std::string name;
  std::size_t key_bytes = 0;
  std::size_t data_bytes = 0;
  // Sorted by `first`, and disjoint where the key has one field.
  std::vector<SetItem> items = {};
  // The sizes of the fields of a concatenated key, each padded to 4 bytes in the registers; empty
  // for a key that is compared as a whole.
  std::vector<std::uint8_t> fields = {};
  std::optional<SetItem> otherwise = {};  // the element "*"
  // It has elements that could not be read, or rules write into it.
  bool unknown = false;
};

}  // namespace sluice::capture::explain
