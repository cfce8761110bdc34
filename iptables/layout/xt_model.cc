// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/layout/xt_model.h"

#include <arpa/inet.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_comment.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_state.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "base/hex.h"
#include "iptables/layout/xt_entry.h"
#include "iptables/layout/xt_layout.h"

namespace sluice::iptables {
namespace {

using namespace capture::explain;
using capture::Mark;
using Bytes = std::span<const std::byte>;
using xt::Read;
using xt::V4;
using xt::V6;

std::string Text(const PortRange& range) {
  if (range.first == range.last) return std::to_string(range.first);
  return std::to_string(range.first) + ":" + std::to_string(range.last);
}

std::string MaskText(const Mark& mark) {
  return mark.mask == 0xffffffff ? Hex(mark.value) : Hex(mark.value) + "/" + Hex(mark.mask);
}

// linux/rtnetlink.h, from RTN_UNSPEC on, in iptables' spelling.
constexpr std::array<const char*, 12> kAddressTypes = {
    "UNSPEC",    "UNICAST",     "LOCAL",    "BROADCAST", "ANYCAST", "MULTICAST",
    "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW",     "NAT",     "XRESOLVE"};

// Targets that let the packet continue, and only look, count or change what no rule here matches.
constexpr std::array<const char*, 19> kHarmless = {
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNSECMARK", "DSCP",       "ECN", "HL",
    "LOG",   "NFLOG",    "RATEEST",  "SECMARK",     "SET",        "TEE", "TCPMSS",
    "TOS",   "TRACE",    "TTL",      "IDLETIMER",   "TCPOPTSTRIP"};

template <typename Traits>
class ModelDecoder {
 public:
  ModelRule Decode(Bytes bytes, const std::string& target) {
    typename Traits::Entry entry;
    if (!Read(bytes, entry)) return Unreadable();
    const std::size_t end = std::min<std::size_t>(entry.next_offset, bytes.size());
    if (entry.target_offset < sizeof(entry) || entry.target_offset > end) return Unreadable();
    rule_.packets = entry.counters.pcnt;
    rule_.counted = true;
    if constexpr (std::is_same_v<Traits, V4>) {
      Fields(entry.ip, entry.ip.proto, (entry.ip.flags & IPT_F_FRAG) != 0);
    } else {
      const bool given = (entry.ipv6.flags & IP6T_F_PROTO) != 0;
      Fields(entry.ipv6, given ? entry.ipv6.proto : 0, false);
      if ((entry.ipv6.flags & IP6T_F_TOS) != 0) Unknown("--tos");
    }
    Matches(bytes.subspan(sizeof(entry), entry.target_offset - sizeof(entry)));
    Target(bytes.subspan(entry.target_offset, end - entry.target_offset), target);
    if (!text_.empty()) text_.erase(0, 1);
    rule_.text = std::move(text_);
    return std::move(rule_);
  }

  std::optional<capture::explain::Extension> DecodeExtension(bool target, const std::string& name,
                                                             int revision, Bytes info) {
    if (target) text_ += " -j " + name;
    if (!(target ? Extension(name, revision, info) : Match(name, revision, info))) return {};
    return capture::explain::Extension{std::move(rule_.tests), std::move(rule_.action),
                                       text_.empty() ? text_ : text_.substr(1)};
  }

 private:
  static ModelRule Unreadable() {
    ModelRule rule;
    rule.tests.push_back(UnknownTest{"an entry that cannot be read"});
    rule.action = UnknownAction{"an entry that cannot be read"};
    rule.text = "...";
    return rule;
  }

  void Add(Test test, std::string_view words) {
    rule_.tests.push_back(std::move(test));
    text_ += ' ';
    text_ += words;
  }
  void Unknown(std::string words) { Add(UnknownTest{words}, words + " ..."); }
  static std::string Not(bool negated) { return negated ? "! " : ""; }

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
      Add(ProtocolTest{static_cast<std::uint8_t>(protocol), negated}, Not(negated) + "-p " + name);
    }
    if (later_fragments) {
      const bool negated = inverted(IPT_INV_FRAG);
      if (negated) {
        text_ += " ! -f";
      } else {
        Add(NeverTest{}, "-f");
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
        return Unknown(Not(negated) + (source ? "-s" : "-d") + " with gaps in its mask");
      }
      ended = ended || ones < 8;
      length += ones;
    }
    if (length == 0 && !negated) return;
    const Cidr range(IpAddress::FromBytes(address_bytes), length);
    Add(AddressTest{source, negated, {range}},
        Not(negated) + (source ? "-s " : "-d ") + range.ToString());
  }

  void Interface(const char (&name)[IFNAMSIZ], const unsigned char (&mask)[IFNAMSIZ], bool negated,
                 bool in) {
    const auto* const end = std::find(std::begin(mask), std::end(mask), 0);
    const auto compared = static_cast<std::size_t>(end - std::begin(mask));
    const std::string flag = Not(negated) + (in ? "-i " : "-o ");
    if (compared == 0) {
      if (negated) Add(NeverTest{}, flag + "+");
      return;
    }
    const std::string text(xt::BoundedText(name));
    // A name that is compared including its NUL is exact.
    const bool whole = compared > text.size() || text.size() == IFNAMSIZ;
    if (!whole && text.size() != compared &&
        !(text.ends_with('+') && text.size() - 1 == compared)) {
      return Unknown(flag + text);
    }
    std::string pattern = text;
    if (!whole && !pattern.ends_with('+')) pattern += '+';
    // A '+' that is part of an exact name is no wildcard.
    if (whole && pattern.ends_with('+')) return Unknown(flag + text);
    Add(InterfaceTest{in, negated, pattern}, flag + pattern);
  }

  void Matches(Bytes bytes) {
    while (!bytes.empty()) {
      xt_entry_match header;
      if (!Read(bytes, header) || header.u.user.match_size < sizeof(header) ||
          header.u.user.match_size > bytes.size()) {
        return Unknown("a match that cannot be read");
      }
      const std::size_t size = header.u.user.match_size;
      const std::string name(xt::BoundedText(header.u.user.name));
      const Bytes info = bytes.subspan(sizeof(header), size - sizeof(header));
      if (!Match(name, header.u.user.revision, info)) Unknown("-m " + name);
      bytes = bytes.subspan(size);
    }
  }

  // False for unknown matches.
  bool Match(const std::string& name, int revision, Bytes info) {
    if (name == "tcp" && revision == 0) return Tcp(info);
    if (name == "udp" && revision == 0) return Udp(info);
    if (name == "multiport" && revision == 1) return Multiport(info);
    if (name == "owner" && revision == 1) return Owner(info);
    if (name == "mark" && revision == 1) return AnyMark<xt_mark_mtinfo1>("mark", false, info);
    if (name == "connmark" && revision == 1) {
      return AnyMark<xt_connmark_mtinfo1>("connmark", true, info);
    }
    if (name == "conntrack" && revision == 1) return Conntrack<xt_conntrack_mtinfo1>(info);
    if (name == "conntrack" && revision == 2) return Conntrack<xt_conntrack_mtinfo2>(info);
    if (name == "conntrack" && revision == 3) return Conntrack<xt_conntrack_mtinfo3>(info);
    if (name == "state" && revision == 0) return State(info);
    if (name == "comment" && revision == 0) return Comment(info);
    if (name == "socket" && revision >= 2 && revision <= 3) return Socket(info);
    if (name == "addrtype" && revision == 1) return AddressType(info);
    if (name == "icmp" || name == "icmp6") {
      Add(NeverTest{}, "-m " + name);
      return true;
    }
    return false;
  }

  void Ports(const __u16 (&range)[2], bool negated, bool source) {
    const PortRange ports{range[0], range[1]};
    if (ports.first == 0 && ports.last == 0xffff && !negated) return;
    const auto of = source ? PortTest::Of::kSource : PortTest::Of::kDestination;
    Add(PortTest{of, negated, {ports}},
        Not(negated) + (source ? "--sport " : "--dport ") + Text(ports));
  }

  bool Tcp(Bytes bytes) {
    xt_tcp info;
    if (!Read(bytes, info)) return false;
    if (info.option != 0) return false;
    text_ += " -m tcp";
    Ports(info.spts, (info.invflags & XT_TCP_INV_SRCPT) != 0, true);
    Ports(info.dpts, (info.invflags & XT_TCP_INV_DSTPT) != 0, false);
    if (info.flg_mask != 0 || (info.invflags & XT_TCP_INV_FLAGS) != 0) {
      const bool negated = (info.invflags & XT_TCP_INV_FLAGS) != 0;
      Add(TcpFlagsTest{info.flg_mask, info.flg_cmp, negated},
          Not(negated) + "--tcp-flags " + Hex(info.flg_mask) + " " + Hex(info.flg_cmp));
    }
    return true;
  }

  bool Udp(Bytes bytes) {
    xt_udp info;
    if (!Read(bytes, info)) return false;
    text_ += " -m udp";
    Ports(info.spts, (info.invflags & XT_UDP_INV_SRCPT) != 0, true);
    Ports(info.dpts, (info.invflags & XT_UDP_INV_DSTPT) != 0, false);
    return true;
  }

  bool Multiport(Bytes bytes) {
    xt_multiport_v1 info;
    if (!Read(bytes, info) || info.count > XT_MULTI_PORTS) return false;
    PortTest test;
    std::string flag = "--ports ";
    test.of = PortTest::Of::kEither;
    if (info.flags == XT_MULTIPORT_SOURCE) {
      test.of = PortTest::Of::kSource;
      flag = "--sports ";
    } else if (info.flags == XT_MULTIPORT_DESTINATION) {
      test.of = PortTest::Of::kDestination;
      flag = "--dports ";
    }
    test.negated = info.invert != 0;
    std::string list;
    for (unsigned int i = 0; i < info.count; ++i) {
      PortRange range = PortRange::Single(info.ports[i]);
      if (info.pflags[i] != 0 && i + 1 < info.count) range.last = info.ports[++i];
      test.ranges.push_back(range);
      list += (list.empty() ? "" : ",") + Text(range);
    }
    const std::string words = "-m multiport " + Not(test.negated) + flag + list;
    Add(std::move(test), words);
    return true;
  }

  bool Owner(Bytes bytes) {
    xt_owner_match_info info;
    if (!Read(bytes, info)) return false;
    // The supplementary groups of a connection's owner are not known.
    if ((info.match & ~(XT_OWNER_UID | XT_OWNER_GID | XT_OWNER_SOCKET)) != 0) return false;
    text_ += " -m owner";
    const auto id = [&](int flag, bool group, std::uint32_t first, std::uint32_t last,
                        const char* words) {
      if ((info.match & flag) == 0) return;
      const bool negated = (info.invert & flag) != 0;
      std::string value = std::to_string(first);
      if (last != first) value += "-" + std::to_string(last);
      Add(OwnerTest{group, negated, first, last}, Not(negated) + words + value);
    };
    if ((info.match & XT_OWNER_SOCKET) != 0) {
      const bool negated = (info.invert & XT_OWNER_SOCKET) != 0;
      Add(HasOwnerTest{negated}, Not(negated) + "--socket-exists");
    }
    id(XT_OWNER_UID, false, info.uid_min, info.uid_max, "--uid-owner ");
    id(XT_OWNER_GID, true, info.gid_min, info.gid_max, "--gid-owner ");
    return true;
  }

  template <typename Info>
  bool AnyMark(const char* name, bool of_connection, Bytes bytes) {
    Info info;
    if (!Read(bytes, info)) return false;
    const Mark mark{info.mark, info.mask};
    const bool negated = info.invert != 0;
    Add(MarkTest{of_connection, negated, mark},
        std::string("-m ") + name + " " + Not(negated) + "--mark " + MaskText(mark));
    return true;
  }

  void States(std::uint16_t states, bool negated, const std::string& words) {
    std::string list;
    const auto name = [&](int bit, const char* text) {
      if ((states & bit) != 0) list += (list.empty() ? "" : ",") + std::string(text);
    };
    name(kStateInvalid, "INVALID");
    name(kStateNew, "NEW");
    name(kStateRelated, "RELATED");
    name(kStateEstablished, "ESTABLISHED");
    name(kStateUntracked, "UNTRACKED");
    name(kStateSnat, "SNAT");
    name(kStateDnat, "DNAT");
    const std::size_t space = words.find("--");
    Add(StateTest{states, negated},
        words.substr(0, space) + Not(negated) + words.substr(space) + " " + list);
  }

  template <typename Info>
  bool Conntrack(Bytes bytes) {
    Info info;
    if (!Read(bytes, info)) return false;
    if (info.match_flags != XT_CONNTRACK_STATE) return false;
    if ((info.invert_flags & ~XT_CONNTRACK_STATE) != 0) return false;
    const unsigned int mask = info.state_mask;
    const auto bit = [mask](unsigned int kernel, int ours) {
      return (mask & kernel) != 0 ? ours : 0;
    };
    const int states = bit(XT_CONNTRACK_STATE_INVALID, kStateInvalid) |
                       bit(XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED), kStateEstablished) |
                       bit(XT_CONNTRACK_STATE_BIT(IP_CT_RELATED), kStateRelated) |
                       bit(XT_CONNTRACK_STATE_BIT(IP_CT_NEW), kStateNew) |
                       bit(XT_CONNTRACK_STATE_SNAT, kStateSnat) |
                       bit(XT_CONNTRACK_STATE_DNAT, kStateDnat) |
                       bit(XT_CONNTRACK_STATE_UNTRACKED, kStateUntracked);
    States(static_cast<std::uint16_t>(states), info.invert_flags != 0, "-m conntrack --ctstate");
    return true;
  }

  bool State(Bytes bytes) {
    xt_state_info info;
    if (!Read(bytes, info)) return false;
    const auto bit = [&info](unsigned int kernel, int ours) {
      return (info.statemask & kernel) != 0 ? ours : 0;
    };
    const int states = bit(XT_STATE_INVALID, kStateInvalid) |
                       bit(XT_STATE_BIT(IP_CT_ESTABLISHED), kStateEstablished) |
                       bit(XT_STATE_BIT(IP_CT_RELATED), kStateRelated) |
                       bit(XT_STATE_BIT(IP_CT_NEW), kStateNew) |
                       bit(XT_STATE_UNTRACKED, kStateUntracked);
    States(static_cast<std::uint16_t>(states), false, "-m state --state");
    return true;
  }

  bool Socket(Bytes bytes) {
    xt_socket_mtinfo2 info;  // that of revision 3 is the same
    if (!Read(bytes, info) || info.flags != XT_SOCKET_NOWILDCARD) return false;
    Add(SocketTest{}, "-m socket --nowildcard");
    return true;
  }

  bool Comment(Bytes bytes) {
    xt_comment_info info;
    if (!Read(bytes, info)) return false;
    text_ += " -m comment --comment \"" + std::string(xt::BoundedText(info.comment)) + "\"";
    return true;
  }

  bool AddressType(Bytes bytes) {
    xt_addrtype_info_v1 info;
    if (!Read(bytes, info)) return false;
    constexpr unsigned int kKnown = XT_ADDRTYPE_INVERT_SOURCE | XT_ADDRTYPE_INVERT_DEST;
    if ((info.flags & ~kKnown) != 0) return false;
    text_ += " -m addrtype";
    const auto add = [this](std::uint16_t types, bool negated, bool source) {
      if (types == 0) return;
      std::string list;
      for (std::size_t type = 0; type < kAddressTypes.size(); ++type) {
        if ((types >> type & 1) != 0)
          list += (list.empty() ? "" : ",") + std::string(kAddressTypes[type]);
      }
      Add(AddressTypeTest{source, negated, types},
          Not(negated) + (source ? "--src-type " : "--dst-type ") + list);
    };
    add(info.source, (info.flags & XT_ADDRTYPE_INVERT_SOURCE) != 0, true);
    add(info.dest, (info.flags & XT_ADDRTYPE_INVERT_DEST) != 0, false);
    return true;
  }

  // --- targets ---
  void Target(Bytes bytes, const std::string& target) {
    xt_entry_target header;
    if (!Read(bytes, header)) {
      rule_.action = UnknownAction{"a target that cannot be read"};
      return;
    }
    const std::string name(xt::BoundedText(header.u.user.name));
    // XT_STANDARD_TARGET: a verdict or a jump.
    if (name.empty()) return Standard(bytes, target);
    text_ += " -j " + name;
    const Bytes info = bytes.subspan(sizeof(header));
    if (!Extension(name, header.u.user.revision, info)) {
      rule_.action = UnknownAction{"-j " + name};
      text_ += " ...";
    }
  }

  void Standard(Bytes bytes, const std::string& target) {
    if (target.empty()) return;  // counter only
    if (target == "ACCEPT") {
      rule_.action = capture::Accept{};
    } else if (target == "DROP") {
      rule_.action = capture::Drop{};
    } else if (target == "RETURN") {
      rule_.action = capture::Return{};
    } else if (target == "QUEUE") {
      rule_.action = UnknownAction{"-j QUEUE"};
    } else if (goto_) {
      rule_.action = capture::Goto{target};
      text_ += " -g " + target;
      return;
    } else {
      rule_.action = capture::Jump{target};
    }
    (void)bytes;
    text_ += " -j " + target;
  }

  bool Extension(const std::string& name, int revision, Bytes info) {
    if (name == "REDIRECT") return Nat(info, revision, true);
    if (name == "DNAT") return Nat(info, revision, false);
    if (name == "SNAT" || name == "MASQUERADE") {
      rule_.action = ChangeSource{};
      return true;
    }
    if (name == "REJECT") {
      rule_.action = Reject{};
      return true;
    }
    if (name == "NOTRACK") {
      rule_.action = NoTrack{};
      return true;
    }
    if (name == "MARK" && revision == 2) return SetMark(info);
    if (name == "CONNMARK" && revision == 1) return Connmark<xt_connmark_tginfo1>(info);
    if (name == "CONNMARK" && revision == 2) return Connmark<xt_connmark_tginfo2>(info);
    if (name == "CT") return Ct(info);
    if (name == "TPROXY" && revision == 1) return TproxyTarget(info);
    return std::ranges::find(kHarmless, name, [](const char* text) { return std::string(text); }) !=
           kHarmless.end();
  }

  struct Range {
    unsigned int flags = 0;
    IpAddress first;
    IpAddress last;
    std::uint16_t first_port = 0;
    std::uint16_t last_port = 0;
  };

  template <typename Raw>
  static IpAddress FromRaw(const Raw& raw) {
    constexpr std::size_t kSize = std::is_same_v<Traits, V4> ? 4 : 16;
    std::array<std::uint8_t, kSize> bytes;
    std::memcpy(bytes.data(), &raw, kSize);
    return IpAddress::FromBytes(bytes);
  }

  static std::optional<Range> NatRange(Bytes bytes, int revision) {
    if (std::is_same_v<Traits, V4> && revision == 0) {
      nf_nat_ipv4_multi_range_compat info;
      if (!Read(bytes, info) || info.rangesize != 1) return {};
      const auto& range = info.range[0];
      const auto address = [](std::uint32_t raw) {
        std::array<std::uint8_t, 4> out;
        std::memcpy(out.data(), &raw, out.size());
        return IpAddress::FromBytes(out);
      };
      return Range{range.flags, address(range.min_ip), address(range.max_ip), ntohs(range.min.all),
                   ntohs(range.max.all)};
    }
    // nf_nat_range2 begins as nf_nat_range does.
    nf_nat_range info;
    if (!Read(bytes, info)) return {};
    return Range{info.flags, FromRaw(info.min_addr), FromRaw(info.max_addr),
                 ntohs(info.min_proto.all), ntohs(info.max_proto.all)};
  }

  bool Nat(Bytes bytes, int revision, bool to_self) {
    const auto range = NatRange(bytes, revision);
    if (!range) return false;
    // PROTO_OFFSET (--to-ports A-B/C) maps ports differently.
    constexpr unsigned int kOffset = 1U << 5;
    if ((range->flags & kOffset) != 0) return false;
    std::optional<std::uint16_t> port;
    std::optional<IpAddress> address;
    bool random = false;
    std::string words;
    if (!to_self && (range->flags & NF_NAT_RANGE_MAP_IPS) != 0) {
      address = range->first;
      words = range->first.ToString();
      if (range->last != range->first) {
        random = true;
        words += "-" + range->last.ToString();
      }
    }
    if ((range->flags & NF_NAT_RANGE_PROTO_SPECIFIED) != 0) {
      port = range->first_port;
      if (range->last_port != range->first_port) random = true;
      words += (to_self ? "" : ":") + Text({range->first_port, range->last_port});
    }
    if (!words.empty()) text_ += (to_self ? " --to-ports " : " --to-destination ") + words;
    if (to_self) {
      rule_.action = RedirectToSelf{port, random};
    } else {
      rule_.action = ChangeDestination{address, port, random};
    }
    return true;
  }

  bool SetMark(Bytes bytes) {
    xt_mark_tginfo2 info;
    if (!Read(bytes, info)) return false;
    rule_.action = XorMark{false, info.mark, info.mask};
    text_ += " --set-xmark " + Hex(info.mark) + "/" + Hex(info.mask);
    return true;
  }

  template <typename Info>
  bool Connmark(Bytes bytes) {
    Info info;
    if (!Read(bytes, info)) return false;
    if constexpr (std::is_same_v<Info, xt_connmark_tginfo2>) {
      if (info.shift_bits != 0) return false;
    }
    const std::string masks = " --nfmask " + Hex(info.nfmask) + " --ctmask " + Hex(info.ctmask);
    if (info.mode == XT_CONNMARK_SET) {
      rule_.action = XorMark{true, info.ctmark, info.ctmask};
      text_ += " --set-xmark " + Hex(info.ctmark) + "/" + Hex(info.ctmask);
    } else if (info.mode == XT_CONNMARK_SAVE) {
      rule_.action = CopyMark{true, info.nfmask, info.ctmask};
      text_ += " --save-mark" + masks;
    } else if (info.mode == XT_CONNMARK_RESTORE) {
      rule_.action = CopyMark{false, info.ctmask, info.nfmask};
      text_ += " --restore-mark" + masks;
    } else {
      return false;
    }
    return true;
  }

  bool Ct(Bytes bytes) {
    xt_ct_target_info_v1 info;  // the older struct begins in the same way
    if (bytes.size() < 4) return false;
    std::memset(&info, 0, sizeof(info));
    std::memcpy(&info, bytes.data(), std::min(bytes.size(), sizeof(info)));
    if ((info.flags & XT_CT_NOTRACK) != 0) {
      rule_.action = NoTrack{};
      text_ += " --notrack";
    } else {
      rule_.action = capture::CtZone{info.zone};
      text_ += " --zone " + std::to_string(info.zone);
    }
    return true;
  }

  bool TproxyTarget(Bytes bytes) {
    xt_tproxy_target_info_v1 info;
    if (!Read(bytes, info)) return false;
    rule_.action = capture::Tproxy{ntohs(info.lport), {info.mark_value, info.mark_mask}};
    text_ += " --on-port " + std::to_string(ntohs(info.lport)) + " --tproxy-mark " +
             Hex(info.mark_value) + "/" + Hex(info.mark_mask);
    return true;
  }

 public:
  explicit ModelDecoder(bool is_goto) : goto_(is_goto) {}

 private:
  ModelRule rule_;
  std::string text_;
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
  const Bytes bytes = std::as_bytes(info);
  const std::string text(name);
  return family == Family::kIpv4
             ? ModelDecoder<V4>(false).DecodeExtension(target, text, revision, bytes)
             : ModelDecoder<V6>(false).DecodeExtension(target, text, revision, bytes);
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
