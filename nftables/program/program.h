// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/cidr.h"
#include "capture/rule.h"

// An nf_tables rule: a program of expressions, as values. Everything is loaded into one register
// (NFT_REG_1), as nft(8) does for such rules. Pure.
namespace sluice::nftables {

// The contents of a register: up to 16 bytes, in the order in which the kernel compares them.
struct Data {
  std::array<std::uint8_t, 16> bytes{};
  std::uint8_t size = 0;

  Data() = default;
  explicit Data(std::span<const std::uint8_t> from) : size(static_cast<std::uint8_t>(from.size())) {
    std::ranges::copy(from, bytes.begin());
  }
  static Data U8(std::uint8_t value);
  static Data BigEndian16(std::uint16_t value);  // ports
  static Data Host16(std::uint16_t value);       // a zone
  static Data Host32(std::uint32_t value);       // marks, owners, states
  std::span<const std::uint8_t> span() const { return std::span(bytes).first(size); }
  std::uint32_t AsHost32() const;
  std::uint16_t AsHost16() const;
  std::uint16_t AsBigEndian16() const;

  friend auto operator<=>(const Data&, const Data&) = default;
};

// The values are those of enum nft_meta_keys, nft_ct_keys, nft_payload_bases, nft_cmp_ops, and the
// verdicts of netfilter and nf_tables (linux/netfilter/nf_tables.h).
enum class MetaKey : std::uint8_t {
  kMark = 3,
  kInterfaceIn = 6,
  kInterfaceOut = 7,
  kUid = 10,
  kGid = 11,
  kProtocol = 16
};
enum class CtKey : std::uint8_t { kState = 0, kMark = 3, kZone = 17 };
enum class Header : std::uint8_t { kNetwork = 1, kTransport = 2 };
enum class Comparison : std::uint8_t {
  kEqual,
  kNotEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual
};
enum class VerdictCode : std::int32_t {
  kDrop = 0,
  kAccept = 1,
  kJump = -3,
  kGoto = -4,
  kReturn = -5
};

struct LoadMeta {
  MetaKey key;
  friend auto operator<=>(const LoadMeta&, const LoadMeta&) = default;
};
struct LoadCt {
  CtKey key;
  friend auto operator<=>(const LoadCt&, const LoadCt&) = default;
};
// Whether the socket that takes the packet is transparent (socket transparent): 0 or 1. The rule
// ends here when there is none. It works on any socket, also of a connection that has ended, and in
// every kernel that has the expression.
struct LoadSocket {
  friend auto operator<=>(const LoadSocket&, const LoadSocket&) = default;
};
struct LoadPayload {
  Header header;
  std::uint8_t offset = 0;
  std::uint8_t length = 0;
  friend auto operator<=>(const LoadPayload&, const LoadPayload&) = default;
};
struct LoadConstant {
  Data value;
  friend auto operator<=>(const LoadConstant&, const LoadConstant&) = default;
};
// register = (register & mask) ^ bits
struct Bitwise {
  Data mask;
  Data bits;
  friend auto operator<=>(const Bitwise&, const Bitwise&) = default;
};
// The rule ends here unless the comparison holds.
struct Compare {
  Comparison comparison;
  Data value;
  friend auto operator<=>(const Compare&, const Compare&) = default;
};
// The rule ends here unless the register is outside the range, ends included.
struct NotInRange {
  Data first;
  Data last;
  friend auto operator<=>(const NotInRange&, const NotInRange&) = default;
};
// The rule ends here unless the register is in an interval set. Sorted, disjoint, merged.
struct InSet {
  std::vector<Cidr> ranges;
  std::string name = {};  // the kernel's name of the set, until its elements are read
  friend auto operator<=>(const InSet&, const InSet&) = default;
};
// Counts the packets that get here; the rule has the numbers (RuleState).
struct Count {
  friend auto operator<=>(const Count&, const Count&) = default;
};
struct StoreMeta {
  MetaKey key;
  friend auto operator<=>(const StoreMeta&, const StoreMeta&) = default;
};
struct StoreCt {
  CtKey key;
  friend auto operator<=>(const StoreCt&, const StoreCt&) = default;
};
// Redirects to the port in the register; final.
struct RedirectToPort {
  friend auto operator<=>(const RedirectToPort&, const RedirectToPort&) = default;
};
// To the transparent socket on the port in the register; without one the rule ends here.
struct TproxyToPort {
  friend auto operator<=>(const TproxyToPort&, const TproxyToPort&) = default;
};
struct ImmediateVerdict {
  VerdictCode code;
  std::string chain = {};
  friend auto operator<=>(const ImmediateVerdict&, const ImmediateVerdict&) = default;
};
// Anything else that the kernel may have.
struct Unknown {
  std::string name;
  friend auto operator<=>(const Unknown&, const Unknown&) = default;
};

using Expression = std::variant<LoadMeta, LoadCt, LoadSocket, LoadPayload, LoadConstant, Bitwise,
                                Compare, NotInRange, InSet, Count, StoreMeta, StoreCt,
                                RedirectToPort, TproxyToPort, ImmediateVerdict, Unknown>;
using Program = std::vector<Expression>;

// The table with all Sluice rules, in each family.
inline constexpr std::string_view kTableName = "sluice";

// "nat/ISTIO_OUTPUT": chains of three x_tables tables share one table here.
std::string ChainName(capture::Table table, std::string_view chain);
// The reverse; nothing for a name of another form.
std::optional<std::pair<capture::Table, std::string>> ParseChainName(std::string_view name);

}  // namespace sluice::nftables
