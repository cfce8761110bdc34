// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <stdexcept>
#include <type_traits>

#include "iptables/layout/xt_entry.h"
#include "iptables/layout/xt_layout.h"

namespace sluice::iptables {
namespace {

using xt::V4;
using xt::V6;

// Packs one rule: an entry, then its matches, then its target, each aligned.
template <typename Traits>
class Encoder {
 public:
  explicit Encoder(const capture::Rule& rule) : rule_(rule) {}

  std::vector<std::byte> Encode() {
    bytes_.resize(sizeof(Entry));
    for (const capture::Match& match : rule_.matches) std::visit(*this, match);
    const std::size_t target_offset = bytes_.size();
    std::visit(*this, rule_.target);

    Entry entry{};
    PackHeader(entry);
    entry.target_offset = static_cast<__u16>(target_offset);
    entry.next_offset = static_cast<__u16>(bytes_.size());
    std::memcpy(bytes_.data(), &entry, sizeof(entry));
    return std::move(bytes_);
  }

  // -m tcp --dport 8000:8999
  void operator()(const capture::PortMatch& match) {
    if (!rule_.protocol) throw std::invalid_argument("a port match needs a protocol");
    if (*rule_.protocol == capture::Protocol::kTcp) {
      xt_tcp info{};
      PackPorts(match, info, XT_TCP_INV_SRCPT, XT_TCP_INV_DSTPT);
      Append<xt_entry_match>(xt::kTcp, info);
    } else {
      xt_udp info{};
      PackPorts(match, info, XT_UDP_INV_SRCPT, XT_UDP_INV_DSTPT);
      Append<xt_entry_match>(xt::kUdp, info);
    }
  }

  // -m owner --uid-owner 1337
  void operator()(const capture::OwnerMatch& match) {
    xt_owner_match_info info{};
    const auto pack = [&info](const std::optional<capture::Condition<std::uint32_t>>& id, __u8 flag,
                              __u32& min, __u32& max) {
      if (!id) return;
      min = max = id->value;
      info.match = static_cast<__u8>(info.match | flag);
      if (id->negated) info.invert = static_cast<__u8>(info.invert | flag);
    };
    pack(match.uid, XT_OWNER_UID, info.uid_min, info.uid_max);
    pack(match.gid, XT_OWNER_GID, info.gid_min, info.gid_max);
    Append<xt_entry_match>(xt::kOwner, info);
  }

  // -m conntrack --ctstate RELATED,ESTABLISHED
  void operator()(const capture::ConntrackStateMatch& match) {
    xt_conntrack_mtinfo3 info{};
    info.match_flags = XT_CONNTRACK_STATE;
    int states = 0;
    if (match.invalid) states |= xt::kStateInvalid;
    if (match.established) states |= xt::kStateEstablished;
    if (match.related) states |= xt::kStateRelated;
    info.state_mask = static_cast<__u16>(states);
    Append<xt_entry_match>(xt::kConntrack, info);
  }

  // -m mark --mark 0x539/0x7ff
  void operator()(const capture::MarkMatch& match) {
    const capture::Mark& mark = match.mark.value;
    Append<xt_entry_match>(xt::kMarkMatch,
                           xt_mark_mtinfo1{mark.value, mark.mask, match.mark.negated});
  }

  // -m connmark --mark 0x539/0x7ff
  void operator()(const capture::ConnmarkMatch& match) {
    const capture::Mark& mark = match.mark.value;
    Append<xt_entry_match>(xt::kConnmarkMatch,
                           xt_connmark_mtinfo1{mark.value, mark.mask, match.mark.negated});
  }

  // -m socket --nowildcard
  void operator()(const capture::SocketMatch&) {
    Append<xt_entry_match>(xt::kSocket, xt_socket_mtinfo3{XT_SOCKET_NOWILDCARD});
  }

  void operator()(const capture::Accept&) { AppendStandard(); }
  void operator()(const capture::Drop&) { AppendStandard(); }
  void operator()(const capture::Return&) { AppendStandard(); }
  void operator()(const capture::Jump& jump) { AppendJump(jump.chain); }
  void operator()(const capture::Goto& jump) { AppendJump(jump.chain); }

  // -j REDIRECT --to-ports 15001
  void operator()(const capture::Redirect& redirect) {
    typename Traits::RedirectInfo info{};
    if constexpr (std::is_same_v<Traits, V4>) {
      info.rangesize = 1;
      info.range[0].flags = NF_NAT_RANGE_PROTO_SPECIFIED;
      info.range[0].min.tcp.port = info.range[0].max.tcp.port = htons(redirect.port);
    } else {
      info.flags = NF_NAT_RANGE_PROTO_SPECIFIED;
      info.min_proto.tcp.port = info.max_proto.tcp.port = htons(redirect.port);
    }
    Append<xt_entry_target>(xt::kRedirect, info);
  }

  // -j TPROXY --on-port 15006 --tproxy-mark 0x539/0x7ff
  void operator()(const capture::Tproxy& tproxy) {
    xt_tproxy_target_info_v1 info{};
    info.lport = htons(tproxy.port);
    info.mark_value = tproxy.mark.value;
    info.mark_mask = tproxy.mark.mask;
    Append<xt_entry_target>(xt::kTproxy, info);
  }

  // -j MARK --set-xmark 0x539/0x7ff
  void operator()(const capture::SetMark& set) {
    Append<xt_entry_target>(xt::kMarkTarget, xt_mark_tginfo2{set.mark.value, set.mark.mask});
  }

  // -j CONNMARK --save-mark --nfmask 0x7ff --ctmask 0x7ff
  void operator()(const capture::SaveConnmark& save) {
    AppendConnmark(XT_CONNMARK_SAVE, save.mask);
  }
  // -j CONNMARK --restore-mark --nfmask 0x7ff --ctmask 0x7ff
  void operator()(const capture::RestoreConnmark& restore) {
    AppendConnmark(XT_CONNMARK_RESTORE, restore.mask);
  }

  // -j CT --zone 1
  void operator()(const capture::CtZone& zone) {
    xt_ct_target_info_v1 info{};
    info.zone = zone.zone;
    Append<xt_entry_target>(xt::kCt, info);
  }

 private:
  using Entry = typename Traits::Entry;

  void PackHeader(Entry& entry) const {
    if constexpr (std::is_same_v<Traits, V4>) {
      PackAddress(rule_.source, xt::kInvertSource, entry.ip.src, entry.ip.smsk, entry.ip.invflags);
      PackAddress(rule_.destination, xt::kInvertDestination, entry.ip.dst, entry.ip.dmsk,
                  entry.ip.invflags);
      PackCommon(entry.ip);
    } else {
      PackAddress(rule_.source, xt::kInvertSource, entry.ipv6.src, entry.ipv6.smsk,
                  entry.ipv6.invflags);
      PackAddress(rule_.destination, xt::kInvertDestination, entry.ipv6.dst, entry.ipv6.dmsk,
                  entry.ipv6.invflags);
      PackCommon(entry.ipv6);
      if (rule_.protocol) {
        entry.ipv6.flags = static_cast<__u8>(entry.ipv6.flags | IP6T_F_PROTO);
      }
    }
  }

  template <typename Ip>
  void PackCommon(Ip& ip) const {
    PackInterface(rule_.in_interface, xt::kInvertIn, ip.iniface, ip.iniface_mask, ip.invflags);
    PackInterface(rule_.out_interface, xt::kInvertOut, ip.outiface, ip.outiface_mask, ip.invflags);
    if (rule_.protocol) ip.proto = static_cast<std::uint8_t>(*rule_.protocol);
    if (std::holds_alternative<capture::Goto>(rule_.target)) ip.flags |= Traits::kGoto;
  }

  template <typename Address>
  static void PackAddress(const std::optional<capture::Condition<Cidr>>& range, __u8 invert,
                          Address& address, Address& mask, __u8& inverted) {
    if (!range) return;
    const auto bytes = range->value.address().bytes();
    if (bytes.size() != sizeof(Address)) {
      throw std::invalid_argument("an address of another family: " + range->value.ToString());
    }
    std::memcpy(&address, bytes.data(), bytes.size());
    auto* const mask_bytes = reinterpret_cast<std::uint8_t*>(&mask);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const int kept = std::clamp(range->value.prefix_length() - static_cast<int>(i) * 8, 0, 8);
      mask_bytes[i] = static_cast<std::uint8_t>(0xff00 >> kept);
    }
    if (range->negated) inverted = static_cast<__u8>(inverted | invert);
  }

  // The mask covers what is compared: the name with its NUL, or the part before a '+'.
  static void PackInterface(const std::optional<capture::Condition<std::string>>& interface,
                            __u8 invert, char (&name)[IFNAMSIZ], unsigned char (&mask)[IFNAMSIZ],
                            __u8& inverted) {
    if (!interface) return;
    const std::string& text = interface->value;
    if (text.empty() || text.size() >= IFNAMSIZ) {
      throw std::invalid_argument("an interface name has 1 to 15 characters: " + text);
    }
    std::memcpy(name, text.data(), text.size());
    const std::size_t compared = text.back() == '+' ? text.size() - 1 : text.size() + 1;
    std::memset(mask, 0xff, compared);
    if (interface->negated) inverted = static_cast<__u8>(inverted | invert);
  }

  template <typename Info>
  static void PackPorts(const capture::PortMatch& match, Info& info, __u8 invert_source,
                        __u8 invert_destination) {
    const auto pack = [&info](const std::optional<capture::Condition<PortRange>>& ports,
                              __u8 invert, __u16(&range)[2]) {
      range[0] = ports ? ports->value.first : std::uint16_t{0};
      range[1] = ports ? ports->value.last : std::uint16_t{0xffff};
      if (ports && ports->negated) info.invflags = static_cast<__u8>(info.invflags | invert);
    };
    // In host byte order, unlike nearly everything else in a rule.
    pack(match.source, invert_source, info.spts);
    pack(match.destination, invert_destination, info.dpts);
  }

  static __u16& SizeIn(xt_entry_match& header) { return header.u.user.match_size; }
  static __u16& SizeIn(xt_entry_target& header) { return header.u.user.target_size; }

  // Header is xt_entry_match or xt_entry_target.
  template <typename Header, typename Info>
  void Append(const xt::Id& id, const Info& info) {
    Header header{};
    SizeIn(header) = static_cast<__u16>(xt::Aligned(sizeof(header) + sizeof(info)));
    std::strncpy(header.u.user.name, id.name, sizeof(header.u.user.name) - 1);
    header.u.user.revision = id.revision;
    const std::size_t offset = bytes_.size();
    bytes_.resize(offset + SizeIn(header));
    std::memcpy(bytes_.data() + offset, &header, sizeof(header));
    std::memcpy(bytes_.data() + offset + sizeof(header), &info, sizeof(info));
  }

  void AppendStandard() {
    xt_standard_target target{};
    target.target.u.user.target_size = static_cast<__u16>(xt::Aligned(sizeof(target)));
    const std::size_t offset = bytes_.size();
    bytes_.resize(offset + xt::Aligned(sizeof(target)));
    std::memcpy(bytes_.data() + offset, &target, sizeof(target));
  }

  void AppendJump(const std::string& chain) {
    if (chain.empty() || chain.size() >= sizeof(xt_entry_target::u.user.name)) {
      throw std::invalid_argument("a chain name has 1 to 28 characters: " + chain);
    }
    AppendStandard();
  }

  void AppendConnmark(__u8 mode, std::uint32_t mask) {
    Append<xt_entry_target>(xt::kConnmarkTarget, xt_connmark_tginfo2{0, mask, mask, 0, 0, mode});
  }

  const capture::Rule& rule_;
  std::vector<std::byte> bytes_;
};

// The extension that a match or target needs; nullptr for those of the core.
struct ExtensionFinder {
  std::optional<capture::Protocol> protocol;

  const xt::Id* operator()(const capture::PortMatch&) const {
    return protocol == capture::Protocol::kUdp ? &xt::kUdp : &xt::kTcp;
  }
  const xt::Id* operator()(const capture::OwnerMatch&) const { return &xt::kOwner; }
  const xt::Id* operator()(const capture::ConntrackStateMatch&) const { return &xt::kConntrack; }
  const xt::Id* operator()(const capture::MarkMatch&) const { return &xt::kMarkMatch; }
  const xt::Id* operator()(const capture::ConnmarkMatch&) const { return &xt::kConnmarkMatch; }
  const xt::Id* operator()(const capture::SocketMatch&) const { return &xt::kSocket; }
  const xt::Id* operator()(const capture::Redirect&) const { return &xt::kRedirect; }
  const xt::Id* operator()(const capture::Tproxy&) const { return &xt::kTproxy; }
  const xt::Id* operator()(const capture::SetMark&) const { return &xt::kMarkTarget; }
  const xt::Id* operator()(const capture::SaveConnmark&) const { return &xt::kConnmarkTarget; }
  const xt::Id* operator()(const capture::RestoreConnmark&) const { return &xt::kConnmarkTarget; }
  const xt::Id* operator()(const capture::CtZone&) const { return &xt::kCt; }
  template <typename Core>
  const xt::Id* operator()(const Core&) const {
    return nullptr;
  }
};

// A target as iptables writes it after -j.
struct TargetNamer {
  std::string operator()(const capture::Accept&) const { return "ACCEPT"; }
  std::string operator()(const capture::Drop&) const { return "DROP"; }
  std::string operator()(const capture::Return&) const { return "RETURN"; }
  std::string operator()(const capture::Jump& jump) const { return jump.chain; }
  std::string operator()(const capture::Goto& jump) const { return jump.chain; }
  template <typename Extension>
  std::string operator()(const Extension& extension) const {
    return ExtensionFinder{}(extension)->name;
  }
};

}  // namespace

std::string TargetName(const capture::Target& target) { return std::visit(TargetNamer{}, target); }

std::vector<std::byte> EncodeEntry(const capture::Rule& rule, Family family) {
  if (rule.list) throw std::invalid_argument("a list of ranges has no entry: see Compile");
  return family == Family::kIpv4 ? Encoder<V4>(rule).Encode() : Encoder<V6>(rule).Encode();
}

std::vector<Extension> ExtensionsOf(const capture::TableRules& rules) {
  std::set<Extension> found;
  const auto look = [&found](const capture::Rule& rule) {
    const ExtensionFinder finder{rule.protocol};
    for (const capture::Match& match : rule.matches) {
      if (const xt::Id* id = std::visit(finder, match)) {
        found.insert({id->name, id->revision, false, id->module});
      }
    }
    if (const xt::Id* id = std::visit(finder, rule.target)) {
      found.insert({id->name, id->revision, true, id->module});
    }
  };
  for (const capture::EntryJump& jump : rules.jumps) look(jump.rule);
  for (const capture::Chain& chain : rules.chains) {
    for (const capture::Rule& rule : chain.rules) look(rule);
  }
  return {found.begin(), found.end()};
}

}  // namespace sluice::iptables
