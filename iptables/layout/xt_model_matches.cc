// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_comment.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_state.h>

#include <array>
#include <cstdint>
#include <optional>

#include "base/hex.h"
#include "iptables/layout/xt_layout.h"
#include "iptables/layout/xt_model_parts.h"

namespace sluice::iptables {
namespace {

using namespace capture::explain;
using Bytes = std::span<const std::byte>;
using xt::Read;

std::string MaskText(const capture::Mark& mark) {
  return mark.mask == 0xffffffff ? Hex(mark.value) : Hex(mark.value) + "/" + Hex(mark.mask);
}

// linux/rtnetlink.h, from RTN_UNSPEC on, in iptables' spelling.
constexpr std::array<const char*, 12> kAddressTypes = {
    "UNSPEC",    "UNICAST",     "LOCAL",    "BROADCAST", "ANYCAST", "MULTICAST",
    "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW",     "NAT",     "XRESOLVE"};

class MatchDecoder {
 public:
  explicit MatchDecoder(PartialRule& out) : out_(out) {}

  bool Decode(const std::string& name, int revision, Bytes info) {
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
      out_.Add(NeverTest{}, "-m " + name);
      return true;
    }
    return false;
  }

 private:
  void Ports(const __u16 (&range)[2], bool negated, bool source) {
    const PortRange ports{range[0], range[1]};
    if (ports.first == 0 && ports.last == 0xffff && !negated) return;
    const auto of = source ? PortTest::Of::kSource : PortTest::Of::kDestination;
    out_.Add(PortTest{of, negated, {ports}},
             Negation(negated) + (source ? "--sport " : "--dport ") + PortText(ports));
  }

  bool Tcp(Bytes bytes) {
    xt_tcp info;
    if (!Read(bytes, info)) return false;
    if (info.option != 0) return false;
    out_.text += " -m tcp";
    Ports(info.spts, (info.invflags & XT_TCP_INV_SRCPT) != 0, true);
    Ports(info.dpts, (info.invflags & XT_TCP_INV_DSTPT) != 0, false);
    if (info.flg_mask != 0 || (info.invflags & XT_TCP_INV_FLAGS) != 0) {
      const bool negated = (info.invflags & XT_TCP_INV_FLAGS) != 0;
      out_.Add(TcpFlagsTest{info.flg_mask, info.flg_cmp, negated},
               Negation(negated) + "--tcp-flags " + Hex(info.flg_mask) + " " + Hex(info.flg_cmp));
    }
    return true;
  }

  bool Udp(Bytes bytes) {
    xt_udp info;
    if (!Read(bytes, info)) return false;
    out_.text += " -m udp";
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
      list += (list.empty() ? "" : ",") + PortText(range);
    }
    const std::string words = "-m multiport " + Negation(test.negated) + flag + list;
    out_.Add(std::move(test), words);
    return true;
  }

  bool Owner(Bytes bytes) {
    xt_owner_match_info info;
    if (!Read(bytes, info)) return false;
    // The supplementary groups of a connection's owner are not known.
    if ((info.match & ~(XT_OWNER_UID | XT_OWNER_GID | XT_OWNER_SOCKET)) != 0) return false;
    out_.text += " -m owner";
    const auto id = [&](int flag, bool group, std::uint32_t first, std::uint32_t last,
                        const char* words) {
      if ((info.match & flag) == 0) return;
      const bool negated = (info.invert & flag) != 0;
      std::string value = std::to_string(first);
      if (last != first) value += "-" + std::to_string(last);
      out_.Add(OwnerTest{group, negated, first, last}, Negation(negated) + words + value);
    };
    if ((info.match & XT_OWNER_SOCKET) != 0) {
      const bool negated = (info.invert & XT_OWNER_SOCKET) != 0;
      out_.Add(HasOwnerTest{negated}, Negation(negated) + "--socket-exists");
    }
    id(XT_OWNER_UID, false, info.uid_min, info.uid_max, "--uid-owner ");
    id(XT_OWNER_GID, true, info.gid_min, info.gid_max, "--gid-owner ");
    return true;
  }

  template <typename Info>
  bool AnyMark(const char* name, bool of_connection, Bytes bytes) {
    Info info;
    if (!Read(bytes, info)) return false;
    const capture::Mark mark{info.mark, info.mask};
    const bool negated = info.invert != 0;
    out_.Add(MarkTest{of_connection, negated, mark},
             std::string("-m ") + name + " " + Negation(negated) + "--mark " + MaskText(mark));
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
    out_.Add(StateTest{states, negated},
             words.substr(0, space) + Negation(negated) + words.substr(space) + " " + list);
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
    out_.Add(SocketTest{}, "-m socket --nowildcard");
    return true;
  }

  bool Comment(Bytes bytes) {
    xt_comment_info info;
    if (!Read(bytes, info)) return false;
    out_.text += " -m comment --comment \"" + std::string(xt::BoundedText(info.comment)) + "\"";
    return true;
  }

  bool AddressType(Bytes bytes) {
    xt_addrtype_info_v1 info;
    if (!Read(bytes, info)) return false;
    constexpr unsigned int kKnown = XT_ADDRTYPE_INVERT_SOURCE | XT_ADDRTYPE_INVERT_DEST;
    if ((info.flags & ~kKnown) != 0) return false;
    out_.text += " -m addrtype";
    const auto add = [this](std::uint16_t types, bool negated, bool source) {
      if (types == 0) return;
      std::string list;
      for (std::size_t type = 0; type < kAddressTypes.size(); ++type) {
        if ((types >> type & 1) != 0)
          list += (list.empty() ? "" : ",") + std::string(kAddressTypes[type]);
      }
      out_.Add(AddressTypeTest{source, negated, types},
               Negation(negated) + (source ? "--src-type " : "--dst-type ") + list);
    };
    add(info.source, (info.flags & XT_ADDRTYPE_INVERT_SOURCE) != 0, true);
    add(info.dest, (info.flags & XT_ADDRTYPE_INVERT_DEST) != 0, false);
    return true;
  }

  PartialRule& out_;
};

}  // namespace

std::string PortText(const PortRange& range) {
  if (range.first == range.last) return std::to_string(range.first);
  return std::to_string(range.first) + ":" + std::to_string(range.last);
}

bool AddMatch(const std::string& name, int revision, std::span<const std::byte> info,
              PartialRule& out) {
  return MatchDecoder(out).Decode(name, revision, info);
}

}  // namespace sluice::iptables
