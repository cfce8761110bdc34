// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>

#include "nftables/model/rule_decoder.h"

namespace sluice::nftables {

namespace ex = capture::explain;
using ex::ByteString;
using ex::Slot;

bool RuleDecoder::Meta(Bytes data) {
  const auto key = NumberOf(data, NFTA_META_KEY);
  if (!key) return false;
  if (const auto from = SlotOf(NumberOf(data, NFTA_META_SREG), 4)) {
    if (*key == NFT_META_MARK) {
      Say("meta mark set " + Source(*from, Shown::kMark));
      Add(ex::StoreMark{*from, false});
      return true;
    }
    const bool harmless =
        *key == NFT_META_PRIORITY || *key == NFT_META_NFTRACE || *key == NFT_META_SECMARK;
    return harmless && Harmless("meta " + std::to_string(*key) + " set");
  }
  struct Known {
    std::uint32_t key;
    std::size_t size;
    const char* words;
    Shown as;
  };
  constexpr std::array<Known, 11> kKnown = {
      {{NFT_META_MARK, 4, "meta mark", Shown::kMark},
       {NFT_META_IIF, 4, "iif", Shown::kNumber},
       {NFT_META_OIF, 4, "oif", Shown::kNumber},
       {NFT_META_IIFNAME, 16, "iifname", Shown::kName},
       {NFT_META_OIFNAME, 16, "oifname", Shown::kName},
       {NFT_META_SKUID, 4, "meta skuid", Shown::kNumber},
       {NFT_META_SKGID, 4, "meta skgid", Shown::kNumber},
       {NFT_META_PROTOCOL, 2, "meta protocol", Shown::kBytes},
       {NFT_META_NFPROTO, 1, "meta nfproto", Shown::kNumber},
       {NFT_META_L4PROTO, 1, "meta l4proto", Shown::kProtocol},
       {NFT_META_PKTTYPE, 1, "meta pkttype", Shown::kNumber}}};
  for (const Known& known : kKnown) {
    if (*key != known.key) continue;
    const auto to = SlotOf(NumberOf(data, NFTA_META_DREG), known.size);
    if (!to) return false;
    if (*key == NFT_META_PKTTYPE) return LoadUnknown(*to, known.words);
    Forget(*to);
    At(*to) = {known.words, known.as};
    Add(ex::Load{.from = ex::Load::From::kMeta, .key = *key, .to = *to});
    return true;
  }
  const auto to = SlotOf(NumberOf(data, NFTA_META_DREG), 4);
  return to && LoadUnknown(*to, "meta key " + std::to_string(*key));
}

bool RuleDecoder::Ct(Bytes data) {
  const auto key = NumberOf(data, NFTA_CT_KEY);
  if (!key) return false;
  if (const auto from = SlotOf(NumberOf(data, NFTA_CT_SREG), 4)) {
    if (*key == NFT_CT_MARK) {
      // For a packet without a connection it does nothing, and the rule continues.
      Say("ct mark set " + Source(*from, Shown::kMark));
      Add(ex::StoreMark{*from, true});
      return true;
    }
    const bool harmless = *key == NFT_CT_ZONE || *key == NFT_CT_LABELS ||
                          *key == NFT_CT_EVENTMASK || *key == NFT_CT_SECMARK;
    return harmless && Harmless(*key == NFT_CT_ZONE ? "ct zone set " + Source(*from, Shown::kNumber)
                                                    : "ct key " + std::to_string(*key) + " set");
  }
  const bool directed = FindAttribute(data, NFTA_CT_DIRECTION).has_value();
  const bool known = !directed && (*key == NFT_CT_STATE || *key == NFT_CT_STATUS ||
                                   *key == NFT_CT_MARK || *key == NFT_CT_DIRECTION);
  const auto to =
      SlotOf(NumberOf(data, NFTA_CT_DREG), known ? (*key == NFT_CT_DIRECTION ? 1 : 4) : 16);
  if (!to) return false;
  if (!known) return LoadUnknown(*to, "ct key " + std::to_string(*key));
  Forget(*to);
  At(*to) = {*key == NFT_CT_STATE    ? "ct state"
             : *key == NFT_CT_STATUS ? "ct status"
             : *key == NFT_CT_MARK   ? "ct mark"
                                     : "ct direction",
             *key == NFT_CT_STATE ? Shown::kState : Shown::kMark};
  Add(ex::Load{.from = ex::Load::From::kCt, .key = *key, .to = *to});
  return true;
}

bool RuleDecoder::Payload(Bytes data) {
  const auto base = NumberOf(data, NFTA_PAYLOAD_BASE);
  const auto offset = NumberOf(data, NFTA_PAYLOAD_OFFSET);
  const auto length = NumberOf(data, NFTA_PAYLOAD_LEN);
  if (!base || !offset || !length || *length == 0 || *length > ex::kRegisterBytes) return false;
  const bool v4 = family_ == Family::kIpv4;
  const std::string ip = v4 ? "ip" : "ip6";
  if (FindAttribute(data, NFTA_PAYLOAD_SREG)) {
    // DSCP or hop limit, which nothing here tests.
    const bool harmless = *base == NFT_PAYLOAD_NETWORK_HEADER &&
                          ((*offset + *length <= 2) || (*offset == (v4 ? 8U : 7U) && *length == 1));
    return harmless && Harmless(ip + " set");
  }
  const auto to = SlotOf(NumberOf(data, NFTA_PAYLOAD_DREG), *length);
  if (!to) return false;
  const std::string where = std::to_string(*offset) + "," + std::to_string(*length * 8);
  if (*offset > 1000) return LoadUnknown(*to, "@" + where);
  Held held;
  if (*base == NFT_PAYLOAD_NETWORK_HEADER) {
    const std::uint32_t source = v4 ? 12 : 8, destination = v4 ? 16 : 24;
    held = {ip + " @nh," + where};
    if (*offset == source) held = {ip + " saddr", Shown::kAddress};
    if (*offset == destination) held = {ip + " daddr", Shown::kAddress};
    if (*offset == (v4 ? 9U : 6U) && *length == 1) held = {ip + " protocol", Shown::kProtocol};
    Forget(*to);
    Add(ex::Load{.from = ex::Load::From::kNetwork, .key = *offset, .to = *to});
  } else if (*base == NFT_PAYLOAD_TRANSPORT_HEADER) {
    held = {"@th," + where};
    if (*offset == 0 && *length == 2) held = {"th sport", Shown::kPort};
    if (*offset == 2 && *length == 2) held = {"th dport", Shown::kPort};
    if (*offset == 13 && *length == 1) held = {"tcp flags"};
    Forget(*to);
    Add(ex::Load{.from = ex::Load::From::kTransport, .key = *offset, .to = *to});
  } else {
    return LoadUnknown(*to, "payload");
  }
  At(*to) = std::move(held);
  return true;
}

bool RuleDecoder::Immediate(Bytes data) {
  const auto number = NumberOf(data, NFTA_IMMEDIATE_DREG);
  if (number == NFT_REG_VERDICT) {
    const auto nest = FindAttribute(data, NFTA_IMMEDIATE_DATA);
    const auto verdict = nest ? FindAttribute(nest->value, NFTA_DATA_VERDICT) : std::nullopt;
    const auto action = verdict ? DecodeVerdict(verdict->value) : std::nullopt;
    if (!action) return false;
    SayVerdict(*action);
    Add(ex::Act{*action});
    return true;
  }
  const auto value = ValueOf(data, NFTA_IMMEDIATE_DATA);
  const auto to = value ? SlotOf(number, value->size()) : std::nullopt;
  if (!to) return false;
  Forget(*to);
  At(*to).constant = *value;
  Add(ex::Load{.from = ex::Load::From::kConstant, .to = *to, .value = *value});
  return true;
}

bool RuleDecoder::Bitwise(Bytes data) {
  const auto length = NumberOf(data, NFTA_BITWISE_LEN);
  if (!length) return false;
  const auto from = SlotOf(NumberOf(data, NFTA_BITWISE_SREG), *length);
  const auto to = SlotOf(NumberOf(data, NFTA_BITWISE_DREG), *length);
  if (!from || !to) return false;
  const auto mask = ValueOf(data, NFTA_BITWISE_MASK);
  const auto bits = ValueOf(data, NFTA_BITWISE_XOR);
  if (NumberOf(data, NFTA_BITWISE_OP).value_or(0) != 0 || !mask || !bits ||
      mask->size() != *length || bits->size() != *length) {
    return LoadUnknown(*to, "bitwise");
  }
  Held held = At(*from);
  held.mask = *mask;
  if (std::ranges::any_of(*bits, [](std::uint8_t byte) { return byte != 0; })) {
    held.words += " xor " + nftables::ToText(*bits, Shown::kBytes);
  }
  Add(ex::MaskBits{*from, *to, *mask, *bits});
  Forget(*to);
  At(*to) = std::move(held);
  return true;
}

bool RuleDecoder::Byteorder(Bytes data) {
  const auto length = NumberOf(data, NFTA_BYTEORDER_LEN);
  const auto unit = NumberOf(data, NFTA_BYTEORDER_SIZE);
  if (!length || !unit || (*unit != 2 && *unit != 4 && *unit != 8)) return false;
  const auto from = SlotOf(NumberOf(data, NFTA_BYTEORDER_SREG), *length);
  const auto to = SlotOf(NumberOf(data, NFTA_BYTEORDER_DREG), *length);
  if (!from || !to) return false;
  Held held = At(*from);
  held.as = Shown::kBytes;
  Add(ex::SwapBytes{*from, *to, static_cast<std::uint8_t>(*unit)});
  Forget(*to);
  At(*to) = std::move(held);
  return true;
}

bool RuleDecoder::Object(Bytes data) {
  // NFT_OBJECT_COUNTER, CT_HELPER, CT_TIMEOUT, SECMARK
  const auto type = NumberOf(data, NFTA_OBJREF_IMM_TYPE);
  if (type == 1U || type == 3U || type == 7U || type == 9U) {
    return Harmless("object " + TextOf(data, NFTA_OBJREF_IMM_NAME));
  }
  return MayEnd("objref");
}

bool RuleDecoder::Fib(Bytes data) {
  const auto result = NumberOf(data, NFTA_FIB_RESULT);
  const auto flags = NumberOf(data, NFTA_FIB_FLAGS).value_or(0);
  const auto to = SlotOf(NumberOf(data, NFTA_FIB_DREG), result == NFT_FIB_RESULT_OIFNAME ? 16 : 4);
  if (!to) return false;
  const bool plain = flags == NFTA_FIB_F_DADDR || flags == NFTA_FIB_F_SADDR;
  if (result != NFT_FIB_RESULT_ADDRTYPE || !plain) return LoadUnknown(*to, "fib");
  Forget(*to);
  const bool source = flags == NFTA_FIB_F_SADDR;
  At(*to) = {source ? "fib saddr type" : "fib daddr type", Shown::kNumber};
  Add(ex::Load{.from = ex::Load::From::kFibType, .key = source ? 1U : 0U, .to = *to});
  return true;
}

bool RuleDecoder::LoadUnknown(const Slot& to, const std::string& words) {
  Forget(to);
  At(to) = {words};
  Add(ex::Load{.to = to});
  return true;
}

}  // namespace sluice::nftables
