// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>

#include "base/hex.h"
#include "iptables/layout/xt_layout.h"
#include "iptables/layout/xt_model_parts.h"

namespace sluice::iptables {
namespace {

using namespace capture::explain;
using Bytes = std::span<const std::byte>;
using xt::Read;

// Targets that let the packet continue, and only look, count or change what no rule here matches.
constexpr std::array<const char*, 19> kHarmless = {
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNSECMARK", "DSCP",       "ECN", "HL",
    "LOG",   "NFLOG",    "RATEEST",  "SECMARK",     "SET",        "TEE", "TCPMSS",
    "TOS",   "TRACE",    "TTL",      "IDLETIMER",   "TCPOPTSTRIP"};

class TargetDecoder {
 public:
  TargetDecoder(Family family, PartialRule& out) : family_(family), out_(out) {}

  bool Decode(const std::string& name, int revision, Bytes info) {
    if (name == "REDIRECT") return Nat(info, revision, true);
    if (name == "DNAT") return Nat(info, revision, false);
    if (name == "SNAT" || name == "MASQUERADE") {
      out_.rule.action = ChangeSource{};
      return true;
    }
    if (name == "REJECT") {
      out_.rule.action = Reject{};
      return true;
    }
    if (name == "NOTRACK") {
      out_.rule.action = NoTrack{};
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

 private:
  struct Range {
    unsigned int flags = 0;
    IpAddress first;
    IpAddress last;
    std::uint16_t first_port = 0;
    std::uint16_t last_port = 0;
  };

  IpAddress FromRaw(const nf_inet_addr& raw) const {
    std::array<std::uint8_t, 16> bytes;
    std::memcpy(bytes.data(), &raw, bytes.size());
    return IpAddress::FromBytes(std::span(bytes).first(family_ == Family::kIpv4 ? 4U : 16U));
  }

  std::optional<Range> NatRange(Bytes bytes, int revision) const {
    if (family_ == Family::kIpv4 && revision == 0) {
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
      words += (to_self ? "" : ":") + PortText({range->first_port, range->last_port});
    }
    if (!words.empty()) out_.text += (to_self ? " --to-ports " : " --to-destination ") + words;
    if (to_self) {
      out_.rule.action = RedirectToSelf{port, random};
    } else {
      out_.rule.action = ChangeDestination{address, port, random};
    }
    return true;
  }

  bool SetMark(Bytes bytes) {
    xt_mark_tginfo2 info;
    if (!Read(bytes, info)) return false;
    out_.rule.action = XorMark{false, info.mark, info.mask};
    out_.text += " --set-xmark " + Hex(info.mark) + "/" + Hex(info.mask);
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
      out_.rule.action = XorMark{true, info.ctmark, info.ctmask};
      out_.text += " --set-xmark " + Hex(info.ctmark) + "/" + Hex(info.ctmask);
    } else if (info.mode == XT_CONNMARK_SAVE) {
      out_.rule.action = CopyMark{true, info.nfmask, info.ctmask};
      out_.text += " --save-mark" + masks;
    } else if (info.mode == XT_CONNMARK_RESTORE) {
      out_.rule.action = CopyMark{false, info.ctmask, info.nfmask};
      out_.text += " --restore-mark" + masks;
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
      out_.rule.action = NoTrack{};
      out_.text += " --notrack";
    } else {
      out_.rule.action = capture::CtZone{info.zone};
      out_.text += " --zone " + std::to_string(info.zone);
    }
    return true;
  }

  bool TproxyTarget(Bytes bytes) {
    xt_tproxy_target_info_v1 info;
    if (!Read(bytes, info)) return false;
    out_.rule.action = capture::Tproxy{ntohs(info.lport), {info.mark_value, info.mark_mask}};
    out_.text += " --on-port " + std::to_string(ntohs(info.lport)) + " --tproxy-mark " +
                 Hex(info.mark_value) + "/" + Hex(info.mark_mask);
    return true;
  }

  Family family_;
  PartialRule& out_;
};

}  // namespace

bool AddTarget(const std::string& name, int revision, std::span<const std::byte> info,
               Family family, PartialRule& out) {
  return TargetDecoder(family, out).Decode(name, revision, info);
}

}  // namespace sluice::iptables
