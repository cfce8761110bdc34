// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

#include "capture/rule_text.h"
#include "iptables/layout/xt_entry.h"
#include "iptables/layout/xt_layout.h"

namespace sluice::iptables {
namespace {

using capture::ForeignRule;
using Bytes = std::span<const std::byte>;
using xt::BoundedText;
using xt::Read;
using xt::V4;
using xt::V6;

// Prefix length of a netmask, or nothing if it has gaps.
std::optional<int> PrefixLength(std::span<const std::uint8_t> mask) {
  int length = 0;
  bool ended = false;
  for (const std::uint8_t byte : mask) {
    const int ones = std::countl_one(byte);
    if (ended ? byte != 0 : std::popcount(byte) != ones) return {};
    ended = ended || ones < 8;
    length += ones;
  }
  return length;
}

// Decodes one entry into rule(). Functions return false for anything that Sluice does not write.
template <typename Traits>
class Decoder {
 public:
  std::optional<capture::Rule> Decode(Bytes bytes, std::string_view target) {
    Entry entry;
    if (!Read(bytes, entry)) return {};
    const std::size_t end = std::min<std::size_t>(entry.next_offset, bytes.size());
    if (entry.target_offset < sizeof(Entry) || entry.target_offset > end) return {};
    if (!Header(entry)) return {};
    if (!Matches(bytes.subspan(sizeof(Entry), entry.target_offset - sizeof(Entry)))) return {};
    if (!Target(bytes.subspan(entry.target_offset, end - entry.target_offset), target)) return {};
    return std::move(rule_);
  }

  ForeignRule DecodeForeign(Bytes bytes, std::string_view target) {
    ForeignRule out;
    out.target = target;
    out.target_known = false;
    Entry entry = {};
    if (!Read(bytes, entry)) return Unreadable(std::move(out));
    const std::size_t end = std::min<std::size_t>(entry.next_offset, bytes.size());
    if (entry.target_offset < sizeof(Entry) || entry.target_offset > end) {
      return Unreadable(std::move(out));
    }
    std::string unknown;  // conditions, each followed by a space
    out.conditions_known = Header(entry);
    if (!out.conditions_known) unknown = "... ";
    const int protocol = ProtocolOf(entry);
    out.of_our_protocols = protocol == 0 || protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
    if (!out.of_our_protocols) unknown = "-p " + std::to_string(protocol) + " ";
    ForeignMatches(bytes.subspan(sizeof(Entry), entry.target_offset - sizeof(Entry)), out, unknown);
    ForeignTarget(bytes.subspan(entry.target_offset, end - entry.target_offset), out);
    // Unknown conditions come after known ones, before the target.
    std::string conditions = capture::ToText(rule_);
    const bool go = std::holds_alternative<capture::Goto>(rule_.target);
    const std::size_t at = conditions.rfind(go ? "-g " : "-j ");
    if (out.text.empty() && out.target_known) out.text = conditions.substr(at);
    conditions.resize(at);
    out.text = conditions + unknown + out.text;
    if (out.text.ends_with(' ')) out.text.pop_back();
    out.rule = std::move(rule_);
    return out;
  }

 private:
  static ForeignRule Unreadable(ForeignRule rule) {
    rule.conditions_known = false;
    rule.text = "...";
    return rule;
  }

  static int ProtocolOf(const typename Traits::Entry& entry) {
    if constexpr (std::is_same_v<Traits, V4>) {
      return entry.ip.proto;
    } else {
      return entry.ipv6.proto;
    }
  }

  void ForeignMatches(Bytes bytes, ForeignRule& out, std::string& unknown) {
    while (!bytes.empty()) {
      xt_entry_match header;
      if (!Read(bytes, header) || header.u.user.match_size < sizeof(header) ||
          header.u.user.match_size > bytes.size()) {
        out.conditions_known = false;
        unknown += "... ";
        return;
      }
      const std::size_t size = header.u.user.match_size;
      const std::string name(BoundedText(header.u.user.name));
      if (!MatchExtension(header, bytes.subspan(sizeof(header), size - sizeof(header)))) {
        unknown += "-m " + name + " ... ";
        // A comment is no condition.
        if (name != "comment") out.conditions_known = false;
      }
      bytes = bytes.subspan(size);
    }
  }

  // Describes in out.text a target for which Rule has no value.
  void ForeignTarget(Bytes bytes, ForeignRule& out) {
    out.target_known = Target(bytes, out.target);
    if (out.target_known) return;
    rule_.target = capture::Accept{};
    xt_entry_target header;
    if (out.target.empty() || !Read(bytes, header)) return;
    xt_ct_target_info_v1 info;
    const bool no_track = out.target == "CT" && Read(bytes.subspan(sizeof(header)), info) &&
                          (info.flags & XT_CT_NOTRACK) != 0;
    out.not_tracked = no_track || out.target == "NOTRACK";
    out.text = out.not_tracked ? "-j CT --notrack" : "-j " + out.target + " ...";
  }

  using Entry = typename Traits::Entry;

  bool Header(const Entry& entry) {
    if constexpr (std::is_same_v<Traits, V4>) {
      return Fields(entry.ip);
    } else {
      if (entry.ipv6.tos != 0) return false;
      if (entry.ipv6.proto != 0 && (entry.ipv6.flags & IP6T_F_PROTO) == 0) return false;
      return Fields(entry.ipv6);
    }
  }

  template <typename Ip>
  bool Fields(const Ip& ip) {
    constexpr std::uint8_t kKnownInversions =
        xt::kInvertIn | xt::kInvertOut | xt::kInvertSource | xt::kInvertDestination;
    if ((ip.flags & ~Traits::kKnownFlags) != 0 || (ip.invflags & ~kKnownInversions) != 0) {
      return false;
    }
    goto_ = (ip.flags & Traits::kGoto) != 0;
    if (ip.proto != 0) {
      if (ip.proto != IPPROTO_TCP && ip.proto != IPPROTO_UDP) return false;
      rule_.protocol = static_cast<capture::Protocol>(ip.proto);
    }
    const auto inverted = [&ip](std::uint8_t flag) { return (ip.invflags & flag) != 0; };
    return Address(ip.src, ip.smsk, inverted(xt::kInvertSource), rule_.source) &&
           Address(ip.dst, ip.dmsk, inverted(xt::kInvertDestination), rule_.destination) &&
           Interface(ip.iniface, ip.iniface_mask, inverted(xt::kInvertIn), rule_.in_interface) &&
           Interface(ip.outiface, ip.outiface_mask, inverted(xt::kInvertOut), rule_.out_interface);
  }

  template <typename RawAddress>
  static bool Address(const RawAddress& address, const RawAddress& mask, bool negated,
                      std::optional<capture::Condition<Cidr>>& out) {
    constexpr std::size_t kSize = sizeof(RawAddress);
    std::array<std::uint8_t, kSize> address_bytes;
    std::array<std::uint8_t, kSize> mask_bytes;
    std::memcpy(address_bytes.data(), &address, kSize);
    std::memcpy(mask_bytes.data(), &mask, kSize);
    const auto length = PrefixLength(mask_bytes);
    if (!length) return false;
    // "Any address" is how an absent condition looks.
    if (*length == 0 && !negated) return true;
    out = capture::Condition<Cidr>{Cidr(IpAddress::FromBytes(address_bytes), *length), negated};
    return true;
  }

  static bool Interface(const char (&name)[IFNAMSIZ], const unsigned char (&mask)[IFNAMSIZ],
                        bool negated, std::optional<capture::Condition<std::string>>& out) {
    const std::string_view text = BoundedText(name);
    const auto* const end = std::find(std::begin(mask), std::end(mask), 0);
    const auto compared = static_cast<std::size_t>(end - std::begin(mask));
    if (compared == 0) return text.empty() && !negated;
    if (text.empty() || text.size() == IFNAMSIZ) return false;
    const std::size_t expected = text.back() == '+' ? text.size() - 1 : text.size() + 1;
    if (compared != expected) return false;
    out = capture::Condition<std::string>{std::string(text), negated};
    return true;
  }

  bool Matches(Bytes bytes) {
    while (!bytes.empty()) {
      xt_entry_match header;
      if (!Read(bytes, header)) return false;
      const std::size_t size = header.u.user.match_size;
      if (size < sizeof(header) || size > bytes.size()) return false;
      if (!MatchExtension(header, bytes.subspan(sizeof(header), size - sizeof(header)))) {
        return false;
      }
      bytes = bytes.subspan(size);
    }
    return true;
  }

  bool MatchExtension(const xt_entry_match& header, Bytes info) {
    const auto is = [&header](const xt::Id& id) {
      return BoundedText(header.u.user.name) == id.name && header.u.user.revision == id.revision;
    };
    if (is(xt::kTcp)) return Tcp(info);
    if (is(xt::kUdp)) return Udp(info);
    if (is(xt::kOwner)) return Owner(info);
    if (is(xt::kConntrack)) return Conntrack(info);
    if (is(xt::kMarkMatch)) return AnyMark<xt_mark_mtinfo1, capture::MarkMatch>(info);
    if (is(xt::kConnmarkMatch)) return AnyMark<xt_connmark_mtinfo1, capture::ConnmarkMatch>(info);
    if (is(xt::kSocket)) return Socket(info);
    return false;
  }

  bool Tcp(Bytes bytes) {
    xt_tcp info;
    if (rule_.protocol != capture::Protocol::kTcp || !Read(bytes, info)) return false;
    if (info.option != 0 || info.flg_mask != 0 || info.flg_cmp != 0) return false;
    return Ports(info, XT_TCP_INV_SRCPT, XT_TCP_INV_DSTPT);
  }

  bool Udp(Bytes bytes) {
    xt_udp info;
    if (rule_.protocol != capture::Protocol::kUdp || !Read(bytes, info)) return false;
    return Ports(info, XT_UDP_INV_SRCPT, XT_UDP_INV_DSTPT);
  }

  template <typename Info>
  bool Ports(const Info& info, int invert_source, int invert_destination) {
    if ((info.invflags & ~(invert_source | invert_destination)) != 0) return false;
    capture::PortMatch match;
    const auto unpack = [&info](const __u16(&range)[2], int invert) {
      const capture::Condition<PortRange> ports{{range[0], range[1]},
                                                (info.invflags & invert) != 0};
      const bool any = range[0] == 0 && range[1] == 0xffff && !ports.negated;
      return any ? std::nullopt : std::optional(ports);
    };
    match.source = unpack(info.spts, invert_source);
    match.destination = unpack(info.dpts, invert_destination);
    rule_.matches.push_back(match);
    return true;
  }

  bool Owner(Bytes bytes) {
    xt_owner_match_info info;
    if (!Read(bytes, info)) return false;
    constexpr int kKnown = XT_OWNER_UID | XT_OWNER_GID;
    if ((info.match & ~kKnown) != 0 || (info.invert & ~info.match) != 0) return false;
    if (info.uid_min != info.uid_max || info.gid_min != info.gid_max) return false;
    capture::OwnerMatch match;
    if ((info.match & XT_OWNER_UID) != 0) {
      match.uid = {info.uid_min, (info.invert & XT_OWNER_UID) != 0};
    }
    if ((info.match & XT_OWNER_GID) != 0) {
      match.gid = {info.gid_min, (info.invert & XT_OWNER_GID) != 0};
    }
    rule_.matches.push_back(match);
    return true;
  }

  bool Conntrack(Bytes bytes) {
    xt_conntrack_mtinfo3 info;
    if (!Read(bytes, info)) return false;
    if (info.match_flags != XT_CONNTRACK_STATE || info.invert_flags != 0) return false;
    const capture::ConntrackStateMatch match{
        .invalid = (info.state_mask & xt::kStateInvalid) != 0,
        .established = (info.state_mask & xt::kStateEstablished) != 0,
        .related = (info.state_mask & xt::kStateRelated) != 0,
    };
    constexpr int kKnown = xt::kStateInvalid | xt::kStateEstablished | xt::kStateRelated;
    if ((info.state_mask & ~kKnown) != 0 || (info.state_mask & kKnown) == 0) return false;
    rule_.matches.push_back(match);
    return true;
  }

  template <typename Info, typename Result>
  bool AnyMark(Bytes bytes) {
    Info info;
    if (!Read(bytes, info)) return false;
    rule_.matches.push_back(
        Result{capture::Condition<capture::Mark>{{info.mark, info.mask}, info.invert != 0}});
    return true;
  }

  bool Socket(Bytes bytes) {
    xt_socket_mtinfo3 info;
    if (!Read(bytes, info) || info.flags != XT_SOCKET_NOWILDCARD) return false;
    rule_.matches.emplace_back(capture::SocketMatch{});
    return true;
  }

  bool Target(Bytes bytes, std::string_view name) {
    xt_entry_target header;
    if (!Read(bytes, header)) return false;
    // XT_STANDARD_TARGET: a verdict or jump, which `name` says.
    if (BoundedText(header.u.user.name).empty()) return Standard(name);
    if (goto_ || header.u.user.target_size > bytes.size()) return false;
    const Bytes info = bytes.subspan(sizeof(header));
    const auto is = [&header](const xt::Id& id) {
      return BoundedText(header.u.user.name) == id.name && header.u.user.revision == id.revision;
    };
    if (is(xt::kRedirect)) return RedirectTarget(info);
    if (is(xt::kTproxy)) return TproxyTarget(info);
    if (is(xt::kMarkTarget)) return MarkTarget(info);
    if (is(xt::kConnmarkTarget)) return ConnmarkTarget(info);
    if (is(xt::kCt)) return CtTarget(info);
    return false;
  }

  bool Standard(std::string_view name) {
    if (name.empty()) return false;  // no target: counter only
    if (goto_) {
      rule_.target = capture::Goto{std::string(name)};
    } else if (name == "ACCEPT") {
      rule_.target = capture::Accept{};
    } else if (name == "DROP") {
      rule_.target = capture::Drop{};
    } else if (name == "RETURN") {
      rule_.target = capture::Return{};
    } else {
      rule_.target = capture::Jump{std::string(name)};
    }
    return true;
  }

  bool RedirectTarget(Bytes bytes) {
    typename Traits::RedirectInfo info;
    if (!Read(bytes, info)) return false;
    __be16 min = 0;
    __be16 max = 0;
    unsigned int flags = 0;
    if constexpr (std::is_same_v<Traits, V4>) {
      if (info.rangesize != 1) return false;
      flags = info.range[0].flags;
      min = info.range[0].min.tcp.port;
      max = info.range[0].max.tcp.port;
    } else {
      flags = info.flags;
      min = info.min_proto.tcp.port;
      max = info.max_proto.tcp.port;
    }
    if (flags != NF_NAT_RANGE_PROTO_SPECIFIED || min != max) return false;
    rule_.target = capture::Redirect{ntohs(min)};
    return true;
  }

  bool TproxyTarget(Bytes bytes) {
    xt_tproxy_target_info_v1 info;
    if (!Read(bytes, info)) return false;
    constexpr nf_inet_addr kAny{};
    if (std::memcmp(&info.laddr, &kAny, sizeof(kAny)) != 0) return false;
    rule_.target = capture::Tproxy{ntohs(info.lport), {info.mark_value, info.mark_mask}};
    return true;
  }

  bool MarkTarget(Bytes bytes) {
    xt_mark_tginfo2 info;
    if (!Read(bytes, info)) return false;
    rule_.target = capture::SetMark{{info.mark, info.mask}};
    return true;
  }

  bool ConnmarkTarget(Bytes bytes) {
    xt_connmark_tginfo2 info;
    if (!Read(bytes, info)) return false;
    if (info.ctmark != 0 || info.ctmask != info.nfmask) return false;
    if (info.shift_dir != 0 || info.shift_bits != 0) return false;
    if (info.mode == XT_CONNMARK_SAVE) {
      rule_.target = capture::SaveConnmark{info.ctmask};
    } else if (info.mode == XT_CONNMARK_RESTORE) {
      rule_.target = capture::RestoreConnmark{info.ctmask};
    } else {
      return false;
    }
    return true;
  }

  bool CtTarget(Bytes bytes) {
    xt_ct_target_info_v1 info;
    if (!Read(bytes, info)) return false;
    if (info.flags != 0 || info.ct_events != 0 || info.exp_events != 0) return false;
    if (info.helper[0] != '\0' || info.timeout[0] != '\0') return false;
    rule_.target = capture::CtZone{info.zone};
    return true;
  }

  capture::Rule rule_;
  bool goto_ = false;
};

}  // namespace

std::optional<capture::Rule> DecodeEntry(std::span<const std::byte> entry, std::string_view target,
                                         Family family) {
  return family == Family::kIpv4 ? Decoder<V4>().Decode(entry, target)
                                 : Decoder<V6>().Decode(entry, target);
}

capture::ForeignRule DecodeForeignEntry(std::span<const std::byte> entry, std::string_view target,
                                        Family family) {
  return family == Family::kIpv4 ? Decoder<V4>().DecodeForeign(entry, target)
                                 : Decoder<V6>().DecodeForeign(entry, target);
}

}  // namespace sluice::iptables
