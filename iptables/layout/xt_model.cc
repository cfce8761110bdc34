// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/layout/xt_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "iptables/layout/xt_entry.h"
#include "iptables/layout/xt_layout.h"
#include "iptables/layout/xt_model_parts.h"

namespace sluice::iptables {
namespace {

using namespace capture::explain;
using Bytes = std::span<const std::byte>;
using xt::Read;
using xt::V4;
using xt::V6;

template <typename Traits>
class ModelDecoder {
 public:
  explicit ModelDecoder(bool is_goto) : goto_(is_goto) {}

  ModelRule Decode(Bytes bytes, const std::string& target) {
    typename Traits::Entry entry;
    if (!Read(bytes, entry)) return Unreadable();
    const std::size_t end = std::min<std::size_t>(entry.next_offset, bytes.size());
    if (entry.target_offset < sizeof(entry) || entry.target_offset > end) return Unreadable();
    out_.rule.packets = entry.counters.pcnt;
    out_.rule.counted = true;
    if constexpr (std::is_same_v<Traits, V4>) {
      Fields(entry.ip, entry.ip.proto, (entry.ip.flags & IPT_F_FRAG) != 0);
    } else {
      const bool given = (entry.ipv6.flags & IP6T_F_PROTO) != 0;
      Fields(entry.ipv6, given ? entry.ipv6.proto : 0, false);
      if ((entry.ipv6.flags & IP6T_F_TOS) != 0) out_.AddUnknown("--tos");
    }
    Matches(bytes.subspan(sizeof(entry), entry.target_offset - sizeof(entry)));
    Target(bytes.subspan(entry.target_offset, end - entry.target_offset), target);
    if (!out_.text.empty()) out_.text.erase(0, 1);
    out_.rule.text = std::move(out_.text);
    return std::move(out_.rule);
  }

 private:
  static constexpr Family kFamily = std::is_same_v<Traits, V4> ? Family::kIpv4 : Family::kIpv6;

  static ModelRule Unreadable() {
    ModelRule rule;
    rule.tests.push_back(UnknownTest{"an entry that cannot be read"});
    rule.action = UnknownAction{"an entry that cannot be read"};
    rule.text = "...";
    return rule;
  }

  template <typename Ip>
  void Fields(const Ip& ip, int protocol, bool later_fragments) {
    const auto inverted = [&ip](int flag) { return (ip.invflags & flag) != 0; };
    Address(ip.src, ip.smsk, inverted(xt::kInvertSource), true);
    Address(ip.dst, ip.dmsk, inverted(xt::kInvertDestination), false);
    Interface(ip.iniface, ip.iniface_mask, inverted(xt::kInvertIn), true);
    Interface(ip.outiface, ip.outiface_mask, inverted(xt::kInvertOut), false);
    if (protocol != 0) {
      // IPT_INV_PROTO and IP6T_INV_PROTO are the same.
      const bool negated = inverted(IPT_INV_PROTO);
      std::string name = std::to_string(protocol);
      if (protocol == IPPROTO_TCP) name = "tcp";
      if (protocol == IPPROTO_UDP) name = "udp";
      if (protocol == IPPROTO_ICMP) name = "icmp";
      if (protocol == IPPROTO_ICMPV6) name = "ipv6-icmp";
      out_.Add(ProtocolTest{static_cast<std::uint8_t>(protocol), negated},
               Negation(negated) + "-p " + name);
    }
    if (later_fragments) {
      const bool negated = inverted(IPT_INV_FRAG);
      if (negated) {
        out_.text += " ! -f";
      } else {
        out_.Add(NeverTest{}, "-f");
      }
    }
  }

  template <typename RawAddress>
  void Address(const RawAddress& address, const RawAddress& mask, bool negated, bool source) {
    constexpr std::size_t kSize = sizeof(RawAddress);
    std::array<std::uint8_t, kSize> address_bytes;
    std::array<std::uint8_t, kSize> mask_bytes;
    std::memcpy(address_bytes.data(), &address, kSize);
    std::memcpy(mask_bytes.data(), &mask, kSize);
    int length = 0;
    bool ended = false;
    for (const std::uint8_t byte : mask_bytes) {
      const int ones = std::countl_one(byte);
      if (ended ? byte != 0 : std::popcount(byte) != ones) {
        return out_.AddUnknown(Negation(negated) + (source ? "-s" : "-d") +
                               " with gaps in its mask");
      }
      ended = ended || ones < 8;
      length += ones;
    }
    if (length == 0 && !negated) return;
    const Cidr range(IpAddress::FromBytes(address_bytes), length);
    out_.Add(AddressTest{source, negated, {range}},
             Negation(negated) + (source ? "-s " : "-d ") + range.ToString());
  }

  void Interface(const char (&name)[IFNAMSIZ], const unsigned char (&mask)[IFNAMSIZ], bool negated,
                 bool in) {
    const auto* const end = std::find(std::begin(mask), std::end(mask), 0);
    const auto compared = static_cast<std::size_t>(end - std::begin(mask));
    const std::string flag = Negation(negated) + (in ? "-i " : "-o ");
    if (compared == 0) {
      if (negated) out_.Add(NeverTest{}, flag + "+");
      return;
    }
    const std::string text(xt::BoundedText(name));
    // A name that is compared including its NUL is exact.
    const bool whole = compared > text.size() || text.size() == IFNAMSIZ;
    if (!whole && text.size() != compared &&
        !(text.ends_with('+') && text.size() - 1 == compared)) {
      return out_.AddUnknown(flag + text);
    }
    std::string pattern = text;
    if (!whole && !pattern.ends_with('+')) pattern += '+';
    // A '+' that is part of an exact name is no wildcard.
    if (whole && pattern.ends_with('+')) return out_.AddUnknown(flag + text);
    out_.Add(InterfaceTest{in, negated, pattern}, flag + pattern);
  }

  void Matches(Bytes bytes) {
    while (!bytes.empty()) {
      xt_entry_match header;
      if (!Read(bytes, header) || header.u.user.match_size < sizeof(header) ||
          header.u.user.match_size > bytes.size()) {
        return out_.AddUnknown("a match that cannot be read");
      }
      const std::size_t size = header.u.user.match_size;
      const std::string name(xt::BoundedText(header.u.user.name));
      const Bytes info = bytes.subspan(sizeof(header), size - sizeof(header));
      if (!AddMatch(name, header.u.user.revision, info, out_)) out_.AddUnknown("-m " + name);
      bytes = bytes.subspan(size);
    }
  }

  void Target(Bytes bytes, const std::string& target) {
    xt_entry_target header;
    if (!Read(bytes, header)) {
      out_.rule.action = UnknownAction{"a target that cannot be read"};
      return;
    }
    const std::string name(xt::BoundedText(header.u.user.name));
    // XT_STANDARD_TARGET: a verdict or a jump.
    if (name.empty()) return Standard(target);
    out_.text += " -j " + name;
    const Bytes info = bytes.subspan(sizeof(header));
    if (!AddTarget(name, header.u.user.revision, info, kFamily, out_)) {
      out_.rule.action = UnknownAction{"-j " + name};
      out_.text += " ...";
    }
  }

  void Standard(const std::string& target) {
    if (target.empty()) return;  // counter only
    if (target == "ACCEPT") {
      out_.rule.action = capture::Accept{};
    } else if (target == "DROP") {
      out_.rule.action = capture::Drop{};
    } else if (target == "RETURN") {
      out_.rule.action = capture::Return{};
    } else if (target == "QUEUE") {
      out_.rule.action = UnknownAction{"-j QUEUE"};
    } else if (goto_) {
      out_.rule.action = capture::Goto{target};
      out_.text += " -g " + target;
      return;
    } else {
      out_.rule.action = capture::Jump{target};
    }
    out_.text += " -j " + target;
  }

  PartialRule out_;
  bool goto_;
};

template <typename Traits>
bool IsGoto(Bytes bytes) {
  typename Traits::Entry entry;
  if (!Read(bytes, entry)) return false;
  if constexpr (std::is_same_v<Traits, V4>) {
    return (entry.ip.flags & Traits::kGoto) != 0;
  } else {
    return (entry.ipv6.flags & Traits::kGoto) != 0;
  }
}

}  // namespace

std::optional<capture::explain::Extension> DecodeExtension(bool target, std::string_view name,
                                                           int revision,
                                                           std::span<const std::uint8_t> info,
                                                           Family family) {
  PartialRule out;
  const std::string text(name);
  const Bytes bytes = std::as_bytes(info);
  if (target) out.text = " -j " + text;
  if (!(target ? AddTarget(text, revision, bytes, family, out)
               : AddMatch(text, revision, bytes, out))) {
    return {};
  }
  if (!out.text.empty()) out.text.erase(0, 1);
  return capture::explain::Extension{std::move(out.rule.tests), std::move(out.rule.action),
                                     std::move(out.text)};
}

ModelRule DecodeModelRule(std::span<const std::byte> entry, std::string_view target,
                          Family family) {
  const std::string name(target);
  ModelRule rule = family == Family::kIpv4
                       ? ModelDecoder<V4>(IsGoto<V4>(entry)).Decode(entry, name)
                       : ModelDecoder<V6>(IsGoto<V6>(entry)).Decode(entry, name);
  // In Sluice's own wording, if Sluice could have written it.
  if (auto known = DecodeEntry(entry, target, family)) {
    const std::uint64_t packets = rule.packets;
    rule = ModelOf(*known);
    rule.packets = packets;
    rule.counted = true;
  }
  return rule;
}

}  // namespace sluice::iptables
