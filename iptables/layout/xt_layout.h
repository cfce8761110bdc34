// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

// Internal to xt_encode, xt_decode and xt_model: the names, revisions and structs of the extensions
// in use. The revisions are those that iptables 1.8 writes on Linux 4.16 or newer: for older ones
// its save programs print "[unsupported revision]" and nothing that could be restored.

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_TPROXY.h>
#include <linux/netfilter/xt_connmark.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_owner.h>
#include <linux/netfilter/xt_socket.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace sluice::iptables::xt {

// Identifies an extension: name, revision, module.
struct Id {
  const char* name;
  std::uint8_t revision;
  const char* module;
};

inline constexpr Id kTcp{"tcp", 0, "xt_tcpudp"};
inline constexpr Id kUdp{"udp", 0, "xt_tcpudp"};
inline constexpr Id kOwner{"owner", 1, "xt_owner"};
inline constexpr Id kConntrack{"conntrack", 3, "xt_conntrack"};
inline constexpr Id kMarkMatch{"mark", 1, "xt_mark"};
inline constexpr Id kConnmarkMatch{"connmark", 1, "xt_connmark"};
inline constexpr Id kSocket{"socket", 3, "xt_socket"};
inline constexpr Id kRedirect{"REDIRECT", 0, "xt_REDIRECT"};
inline constexpr Id kTproxy{"TPROXY", 1, "xt_TPROXY"};
inline constexpr Id kMarkTarget{"MARK", 2, "xt_mark"};
inline constexpr Id kConnmarkTarget{"CONNMARK", 2, "xt_connmark"};
inline constexpr Id kCt{"CT", 2, "xt_CT"};

// The differences between the families' entries.
struct V4 {
  using Entry = ipt_entry;
  using RedirectInfo = nf_nat_ipv4_multi_range_compat;
  static constexpr std::uint8_t kGoto = IPT_F_GOTO;
  static constexpr std::uint8_t kKnownFlags = IPT_F_GOTO;
};
struct V6 {
  using Entry = ip6t_entry;
  using RedirectInfo = nf_nat_range;
  static constexpr std::uint8_t kGoto = IP6T_F_GOTO;
  // IP6T_F_PROTO says that a protocol is given; the kernel ignores the protocol without it.
  static constexpr std::uint8_t kKnownFlags = IP6T_F_GOTO | IP6T_F_PROTO;
};

// Inversion flags have the same bits in both families (IPT_INV_*, IP6T_INV_*).
inline constexpr std::uint8_t kInvertIn = IPT_INV_VIA_IN;
inline constexpr std::uint8_t kInvertOut = IPT_INV_VIA_OUT;
inline constexpr std::uint8_t kInvertSource = IPT_INV_SRCIP;
inline constexpr std::uint8_t kInvertDestination = IPT_INV_DSTIP;
static_assert(kInvertIn == IP6T_INV_VIA_IN && kInvertOut == IP6T_INV_VIA_OUT &&
              kInvertSource == IP6T_INV_SRCIP && kInvertDestination == IP6T_INV_DSTIP);

// XT_CONNTRACK_STATE_BIT and _INVALID of xt_conntrack.h, converted to their storage type.
inline constexpr std::uint16_t kStateInvalid = XT_CONNTRACK_STATE_INVALID;
inline constexpr std::uint16_t kStateEstablished = XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED);
inline constexpr std::uint16_t kStateRelated = XT_CONNTRACK_STATE_BIT(IP_CT_RELATED);

// XT_ALIGN of x_tables.h: every match and target starts on this boundary.
constexpr std::size_t Aligned(std::size_t size) {
  constexpr std::size_t kAlignment = __alignof__(_xt_align);
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

// Copies a struct out of `bytes`, which may be shorter and need not be aligned.
template <typename T>
bool Read(std::span<const std::byte> bytes, T& out) {
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(&out, bytes.data(), sizeof(T));
  return true;
}

// A name in an array that it may fill completely.
template <std::size_t N>
std::string_view BoundedText(const char (&text)[N]) {
  return {text, strnlen(text, N)};
}

}  // namespace sluice::iptables::xt
