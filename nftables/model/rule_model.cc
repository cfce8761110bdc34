// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/model/rule_model.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/hex.h"

namespace sluice::nftables {
namespace {

namespace ex = capture::explain;
using ex::ByteString;
using ex::Slot;

ByteString Copy(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

std::optional<ByteString> ValueOf(Bytes attributes, std::uint16_t type) {
  const auto nest = FindAttribute(attributes, type);
  const auto value = nest ? FindAttribute(nest->value, NFTA_DATA_VALUE) : std::nullopt;
  if (!value || value->value.empty() || value->value.size() > ex::kRegisterBytes) return {};
  return Copy(value->value);
}

// The bytes of one of enum nft_registers.
std::optional<Slot> SlotOf(std::optional<std::uint32_t> number, std::size_t size) {
  if (!number || size > ex::kRegisterBytes) return {};
  std::size_t at = 0;
  if (*number >= NFT_REG_1 && *number <= NFT_REG_4) {
    at = (*number - NFT_REG_1) * 16;
  } else if (*number >= NFT_REG32_00 && *number <= NFT_REG32_15) {
    at = (*number - NFT_REG32_00) * 4;
  } else {
    return {};
  }
  if (at + size > ex::kRegisterBytes) return {};
  return Slot{static_cast<std::uint8_t>(at), static_cast<std::uint8_t>(size)};
}

class Decoder {
 public:
  Decoder(Family family, const std::map<std::string, std::size_t>& sets,
          const std::vector<ex::SetModel>& models, const ExtensionDecoder& extensions)
      : family_(family), sets_(sets), models_(models), extensions_(extensions) {}

  ex::ModelRule Decode(const RawRule& raw) {
    ForEachAttribute(Bytes(raw.expressions), [this](const Attribute& element) {
      const std::string name = TextOf(element.value, NFTA_EXPR_NAME);
      const auto data = FindAttribute(element.value, NFTA_EXPR_DATA);
      if (!One(name, data ? data->value : Bytes())) Unknown(name);
    });
    if (!raw.comment.empty()) text_ += " comment \"" + raw.comment + "\"";
    // A rule without an expression does nothing.
    if (rule_.program.empty()) rule_.program.emplace_back(ex::Act{ex::GoOn{}});
    rule_.text = text_.empty() ? "..." : text_.substr(1);
    return std::move(rule_);
  }

 private:
  // What a register holds, as text.
  struct Held {
    std::string words;
    Shown as = Shown::kBytes;
    ByteString mask = {};
    ByteString constant = {};
  };

  void Add(ex::Op op) { rule_.program.push_back(std::move(op)); }
  void Say(const std::string& words) { text_ += " " + words; }
  Held& At(const Slot& slot) { return held_[slot.at / 4]; }
  void Forget(const Slot& slot) {
    for (std::size_t i = slot.at / 4; i < (slot.at + slot.size + 3U) / 4U && i < held_.size();
         ++i) {
      held_[i] = {};
    }
  }

  // It may end the rule, let it continue, or do something unknown.
  void Unknown(const std::string& name) {
    Add(ex::Check{ex::UnknownTest{name}});
    Add(ex::Act{ex::UnknownAction{name}});
    Say(name + " ...");
  }
  bool Harmless(const std::string& words) {
    Say(words);
    return true;
  }
  // It tests something that is not known here, and may end the rule.
  bool MayEnd(const std::string& name) {
    Add(ex::Check{ex::UnknownTest{name}});
    Say(name + " ...");
    return true;
  }
  bool LoadUnknown(const Slot& to, const std::string& words) {
    Forget(to);
    At(to) = {words};
    Add(ex::Load{.to = to});
    return true;
  }

  bool One(const std::string& name, Bytes data) {
    if (name == "meta") return Meta(data);
    if (name == "ct") return Ct(data);
    if (name == "payload") return Payload(data);
    if (name == "immediate") return Immediate(data);
    if (name == "bitwise") return Bitwise(data);
    if (name == "byteorder") return Byteorder(data);
    if (name == "cmp") return Compare(data);
    if (name == "range") return Range(data);
    if (name == "lookup") return Lookup(data);
    if (name == "counter") {
      const auto packets = FindAttribute(data, NFTA_COUNTER_PACKETS);
      if (packets) rule_.packets = packets->Big64().value_or(0);
      const auto bytes = FindAttribute(data, NFTA_COUNTER_BYTES);
      if (bytes) rule_.bytes = bytes->Big64().value_or(0);
      rule_.counted = packets.has_value();
      return Harmless("counter");
    }
    if (name == "log" || name == "dup" || name == "flow_offload" || name == "last") {
      return Harmless(name);
    }
    if (name == "limit" || name == "quota" || name == "connlimit" || name == "dynset") {
      return MayEnd(name);
    }
    if (name == "objref") return Object(data);
    if (name == "nat") return Nat(data);
    if (name == "redir") return Redirect(data);
    if (name == "masq") {
      Say("masquerade");
      Add(ex::Act{ex::ChangeSource{}});
      return true;
    }
    if (name == "tproxy") return Tproxy(data);
    if (name == "reject") {
      Say("reject");
      Add(ex::Act{ex::Reject{}});
      return true;
    }
    if (name == "notrack") {
      Say("notrack");
      Add(ex::Act{ex::NoTrack{}});
      return true;
    }
    if (name == "fib") return Fib(data);
    if (name == "match" || name == "target") return OfXtables(name == "target", data);
    if (name == "socket" && NumberOf(data, NFTA_SOCKET_KEY) == NFT_SOCKET_TRANSPARENT) {
      const auto to = SlotOf(NumberOf(data, NFTA_SOCKET_DREG), 1);
      if (!to) return false;
      Forget(*to);
      At(*to) = {"socket transparent", Shown::kNumber};
      Add(ex::Load{.from = ex::Load::From::kSocket, .to = *to});
      return true;
    }
    // Expressions that only load: socket, rt, exthdr, numgen, hash, osf, tunnel, xfrm, inner.
    constexpr std::array<std::pair<const char*, std::uint16_t>, 5> kLoads = {
        {{"socket", 2}, {"rt", 1}, {"exthdr", 1}, {"numgen", 1}, {"hash", 2}}};
    for (const auto& [known, destination] : kLoads) {
      if (name != known) continue;
      const auto to = SlotOf(NumberOf(data, destination), 16);
      if (to) return LoadUnknown(*to, name);
      // tcp option maxseg size set
      return name == "exthdr" && Harmless("exthdr");
    }
    return false;
  }

  bool Meta(Bytes data) {
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

  bool Ct(Bytes data) {
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
      return harmless &&
             Harmless(*key == NFT_CT_ZONE ? "ct zone set " + Source(*from, Shown::kNumber)
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

  bool Payload(Bytes data) {
    const auto base = NumberOf(data, NFTA_PAYLOAD_BASE);
    const auto offset = NumberOf(data, NFTA_PAYLOAD_OFFSET);
    const auto length = NumberOf(data, NFTA_PAYLOAD_LEN);
    if (!base || !offset || !length || *length == 0 || *length > ex::kRegisterBytes) return false;
    const bool v4 = family_ == Family::kIpv4;
    const std::string ip = v4 ? "ip" : "ip6";
    if (FindAttribute(data, NFTA_PAYLOAD_SREG)) {
      // DSCP or hop limit, which nothing here tests.
      const bool harmless =
          *base == NFT_PAYLOAD_NETWORK_HEADER &&
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

  bool Immediate(Bytes data) {
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

  void SayVerdict(const ex::Action& action) {
    if (std::holds_alternative<capture::Accept>(action)) Say("accept");
    if (std::holds_alternative<capture::Drop>(action)) Say("drop");
    if (std::holds_alternative<capture::Return>(action)) Say("return");
    if (std::holds_alternative<ex::GoOn>(action)) Say("continue");
    if (const auto* jump = std::get_if<capture::Jump>(&action)) Say("jump " + jump->chain);
    if (const auto* go = std::get_if<capture::Goto>(&action)) Say("goto " + go->chain);
    if (const auto* other = std::get_if<ex::UnknownAction>(&action)) Say(other->what);
  }

  bool Bitwise(Bytes data) {
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

  bool Byteorder(Bytes data) {
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

  static std::string Operator(std::uint32_t operation) {
    constexpr std::array<const char*, 6> kNames = {"", "!= ", "< ", "<= ", "> ", ">= "};
    return kNames.at(operation);
  }

  bool Compare(Bytes data) {
    const auto value = ValueOf(data, NFTA_CMP_DATA);
    const auto operation = NumberOf(data, NFTA_CMP_OP);
    if (!value || !operation || *operation > NFT_CMP_GTE) return false;
    const auto from = SlotOf(NumberOf(data, NFTA_CMP_SREG), value->size());
    if (!from) return false;
    Add(ex::Compare{*from, static_cast<std::uint8_t>(*operation), *value});
    Held held = At(*from);
    const bool zero = std::ranges::all_of(*value, [](std::uint8_t byte) { return byte == 0; });
    if (held.as == Shown::kState && !held.mask.empty() && zero && *operation <= NFT_CMP_NEQ) {
      Say(held.words + (*operation == NFT_CMP_NEQ ? " " : " ! ") +
          nftables::ToText(held.mask, Shown::kState));
      return true;
    }
    std::string words = held.words;
    std::string shown = nftables::ToText(*value, held.as);
    if (held.as == Shown::kAddress) {
      int length = static_cast<int>(value->size() * 8);
      const bool whole = *value == Padded(*value) && held.mask.empty();
      if (!held.mask.empty()) {
        length = 0;
        for (const std::uint8_t byte : held.mask) length += std::popcount(byte);
      }
      if (!whole || !held.mask.empty()) shown += "/" + std::to_string(length);
    } else if (!held.mask.empty()) {
      words += " & " + nftables::ToText(held.mask, held.as);
      if (*operation == NFT_CMP_EQ) words += " ==";
    }
    Say(words + " " + Operator(*operation) + shown);
    return true;
  }

  // As long as an address of the family.
  ByteString Padded(ByteString value) const {
    value.resize(family_ == Family::kIpv4 ? 4 : 16);
    return value;
  }

  bool Range(Bytes data) {
    const auto first = ValueOf(data, NFTA_RANGE_FROM_DATA);
    const auto last = ValueOf(data, NFTA_RANGE_TO_DATA);
    const auto operation = NumberOf(data, NFTA_RANGE_OP);
    if (!first || !last || first->size() != last->size() || !operation || *operation > 1) {
      return false;
    }
    const auto from = SlotOf(NumberOf(data, NFTA_RANGE_SREG), first->size());
    if (!from) return false;
    const bool negated = *operation == NFT_RANGE_NEQ;
    Add(ex::Within{*from, negated, *first, *last});
    const Held& held = At(*from);
    Say(held.words + (negated ? " != " : " ") + nftables::ToText(*first, held.as) + "-" +
        nftables::ToText(*last, held.as));
    return true;
  }

  bool Lookup(Bytes data) {
    std::string name = TextOf(data, NFTA_LOOKUP_SET);
    if (const auto id = NumberOf(data, NFTA_LOOKUP_SET_ID)) name += "#" + std::to_string(*id);
    const auto set = sets_.find(name);
    if (set == sets_.end()) return false;
    const ex::SetModel& model = models_[set->second];
    const auto from = SlotOf(NumberOf(data, NFTA_LOOKUP_SREG), model.key_bytes);
    if (!from) return false;
    ex::Lookup lookup{.set = set->second, .from = *from};
    lookup.negated = (NumberOf(data, NFTA_LOOKUP_FLAGS).value_or(0) & NFT_LOOKUP_F_INV) != 0;
    std::string words;
    for (std::size_t at = from->at / 4U; at < (from->at + from->size + 3U) / 4U; ++at) {
      if (held_[at].words.empty()) continue;
      words += (words.empty() ? "" : " . ") + held_[at].words;
    }
    words += lookup.negated ? " != " : " ";
    if (const auto number = NumberOf(data, NFTA_LOOKUP_DREG)) {
      if (*number == NFT_REG_VERDICT) {
        lookup.verdicts = true;
        words += "vmap ";
      } else {
        const auto to = SlotOf(number, model.data_bytes);
        if (!to) return false;
        lookup.to = to;
        words += "map ";
      }
    }
    words += SetText(name, model, At(*from).as);
    if (lookup.to) {
      Forget(*lookup.to);
      At(*lookup.to) = {words};
    } else {
      Say(words);
    }
    Add(std::move(lookup));
    return true;
  }

  static std::string SetText(const std::string& name, const ex::SetModel& set, Shown as) {
    if (!name.starts_with("__")) return "@" + name;
    constexpr std::size_t kMost = 8;
    std::string out = "{";
    for (std::size_t i = 0; i < std::min(set.items.size(), kMost); ++i) {
      const ex::SetItem& item = set.items[i];
      out += (i == 0 ? " " : ", ") + nftables::ToText(item.first, as);
      if (item.last != item.first) out += "-" + nftables::ToText(item.last, as);
    }
    return out + (set.items.size() > kMost ? ", ... }" : " }");
  }

  bool Object(Bytes data) {
    // NFT_OBJECT_COUNTER, CT_HELPER, CT_TIMEOUT, SECMARK
    const auto type = NumberOf(data, NFTA_OBJREF_IMM_TYPE);
    if (type == 1U || type == 3U || type == 7U || type == 9U) {
      return Harmless("object " + TextOf(data, NFTA_OBJREF_IMM_NAME));
    }
    return MayEnd("objref");
  }

  // The source of a target's value, as text.
  std::string Source(const Slot& slot, Shown as) {
    const Held& held = At(slot);
    if (!held.constant.empty()) return nftables::ToText(held.constant, as);
    std::string out = held.words;
    if (!held.mask.empty()) out += " & " + nftables::ToText(held.mask, as);
    return out;
  }

  bool Nat(Bytes data) {
    const auto type = NumberOf(data, NFTA_NAT_TYPE);
    const auto family = NumberOf(data, NFTA_NAT_FAMILY);
    const bool v4 = family_ == Family::kIpv4;
    if (!type || !family) return false;
    // nft_nat_inet_eval(): it does nothing for the other family.
    if (*family != NFPROTO_INET && *family != (v4 ? NFPROTO_IPV4 : NFPROTO_IPV6)) {
      return Harmless("nat of the other family");
    }
    ex::NatTo nat;
    const std::size_t size = v4 ? 4 : 16;
    nat.address = SlotOf(NumberOf(data, NFTA_NAT_REG_ADDR_MIN), size);
    nat.last_address = SlotOf(NumberOf(data, NFTA_NAT_REG_ADDR_MAX), size);
    nat.port = SlotOf(NumberOf(data, NFTA_NAT_REG_PROTO_MIN), 2);
    nat.last_port = SlotOf(NumberOf(data, NFTA_NAT_REG_PROTO_MAX), 2);
    // NF_NAT_RANGE_NETMAP and PROTO_OFFSET map differently.
    nat.random = (NumberOf(data, NFTA_NAT_FLAGS).value_or(0) & 0x60U) != 0;
    const bool source = *type == NFT_NAT_SNAT;
    std::string words = source ? "snat to " : "dnat to ";
    if (nat.address) words += Source(*nat.address, Shown::kAddress);
    if (nat.port) words += ":" + Source(*nat.port, Shown::kPort);
    Say(words);
    if (source) {
      Add(ex::Act{ex::ChangeSource{}});
    } else {
      Add(nat);
    }
    return true;
  }

  bool Redirect(Bytes data) {
    ex::NatTo nat{.to_self = true};
    nat.port = SlotOf(NumberOf(data, NFTA_REDIR_REG_PROTO_MIN), 2);
    nat.last_port = SlotOf(NumberOf(data, NFTA_REDIR_REG_PROTO_MAX), 2);
    Say("redirect" + (nat.port ? " to :" + Source(*nat.port, Shown::kPort) : ""));
    Add(nat);
    return true;
  }

  bool Tproxy(Bytes data) {
    const auto family = NumberOf(data, NFTA_TPROXY_FAMILY).value_or(NFPROTO_UNSPEC);
    const bool v4 = family_ == Family::kIpv4;
    if (family != NFPROTO_UNSPEC && family != (v4 ? NFPROTO_IPV4 : NFPROTO_IPV6)) {
      return MayEnd("tproxy of the other family");
    }
    ex::TproxyTo out;
    out.port = SlotOf(NumberOf(data, NFTA_TPROXY_REG_PORT), 2);
    Say("tproxy to" + (out.port ? " :" + Source(*out.port, Shown::kPort) : " the same port"));
    Add(out);
    return true;
  }

  bool Fib(Bytes data) {
    const auto result = NumberOf(data, NFTA_FIB_RESULT);
    const auto flags = NumberOf(data, NFTA_FIB_FLAGS).value_or(0);
    const auto to =
        SlotOf(NumberOf(data, NFTA_FIB_DREG), result == NFT_FIB_RESULT_OIFNAME ? 16 : 4);
    if (!to) return false;
    const bool plain = flags == NFTA_FIB_F_DADDR || flags == NFTA_FIB_F_SADDR;
    if (result != NFT_FIB_RESULT_ADDRTYPE || !plain) return LoadUnknown(*to, "fib");
    Forget(*to);
    const bool source = flags == NFTA_FIB_F_SADDR;
    At(*to) = {source ? "fib saddr type" : "fib daddr type", Shown::kNumber};
    Add(ex::Load{.from = ex::Load::From::kFibType, .key = source ? 1U : 0U, .to = *to});
    return true;
  }

  bool OfXtables(bool target, Bytes data) {
    // NFTA_MATCH_NAME and so on have the same numbers as NFTA_TARGET_NAME.
    const std::string name = TextOf(data, NFTA_TARGET_NAME);
    const auto revision = NumberOf(data, NFTA_TARGET_REV);
    const auto info = FindAttribute(data, NFTA_TARGET_INFO);
    if (name.empty() || !revision || !info) return false;
    auto extension =
        extensions_ ? extensions_(target, name, static_cast<int>(*revision), info->value, family_)
                    : std::nullopt;
    if (!extension) {
      if (!target) return MayEnd("-m " + name);
      Unknown("-j " + name);
      return true;
    }
    Say(extension->text);
    for (ex::Test& test : extension->tests) Add(ex::Check{std::move(test)});
    if (target) Add(ex::Act{std::move(extension->action)});
    return true;
  }

  Family family_;
  const std::map<std::string, std::size_t>& sets_;
  const std::vector<ex::SetModel>& models_;
  const ExtensionDecoder& extensions_;
  ex::ModelRule rule_;
  std::string text_;
  std::array<Held, ex::kRegisterBytes / 4> held_;
};

// The greatest value below `value`, by memcmp. `value` is not zero.
ByteString Before(ByteString value) {
  for (auto byte = value.rbegin(); byte != value.rend(); ++byte) {
    if ((*byte)-- != 0) break;
  }
  return value;
}

bool OnlyCounts(Bytes expression) { return TextOf(expression, NFTA_EXPR_NAME) == "counter"; }

}  // namespace

std::optional<ex::Action> DecodeVerdict(Bytes verdict) {
  const auto code = NumberOf(verdict, NFTA_VERDICT_CODE);
  if (!code) return {};
  const std::string chain = TextOf(verdict, NFTA_VERDICT_CHAIN);
  switch (static_cast<std::int32_t>(*code)) {
    case NF_DROP:
      return capture::Drop{};
    case NF_ACCEPT:
      return capture::Accept{};
    case NFT_CONTINUE:
      return ex::GoOn{};
    case NFT_JUMP:
      return capture::Jump{chain};
    case NFT_GOTO:
      return capture::Goto{chain};
    case NFT_RETURN:
      return capture::Return{};
    default:
      return ex::UnknownAction{"verdict " + std::to_string(*code)};
  }
}

std::string ToText(const ByteString& value, Shown as) {
  std::uint32_t host = 0;
  std::memcpy(&host, value.data(), std::min(value.size(), sizeof(host)));
  switch (as) {
    case Shown::kAddress: {
      ByteString whole = value;
      whole.resize(value.size() <= 4 ? 4 : 16);
      return IpAddress::FromBytes(whole).ToString();
    }
    case Shown::kPort:
      if (value.size() >= 2) return std::to_string(value[0] << 8U | value[1]);
      break;
    case Shown::kName: {
      const std::string text(value.begin(), value.end());
      const bool whole = text.find('\0') != text.npos;
      return "\"" + text.substr(0, text.find('\0')) + (whole ? "\"" : "*\"");
    }
    case Shown::kNumber:
      return std::to_string(host);
    case Shown::kMark:
      return Hex(host);
    case Shown::kProtocol:
      return host == 6 ? "tcp" : host == 17 ? "udp" : std::to_string(host);
    case Shown::kState: {
      std::string out;
      constexpr std::array<std::pair<std::uint32_t, const char*>, 5> kStates = {
          {{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}}};
      for (const auto& [bit, name] : kStates) {
        if ((host & bit) != 0) out += (out.empty() ? "" : ",") + std::string(name);
      }
      return out.empty() ? Hex(host) : out;
    }
    case Shown::kBytes:
      break;
  }
  std::string out = "0x";
  constexpr const char* kDigits = "0123456789abcdef";
  for (const std::uint8_t byte : value) {
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

ex::ModelRule DecodeModelRule(const RawRule& rule, Family family,
                              const std::map<std::string, std::size_t>& sets,
                              const std::vector<ex::SetModel>& models,
                              const ExtensionDecoder& extensions) {
  return Decoder(family, sets, models, extensions).Decode(rule);
}

ex::SetModel DecodeSet(const RawSet& set) {
  ex::SetModel out{.name = set.name, .fields = set.fields};
  out.key_bytes = std::min<std::uint32_t>(set.key_bytes, ex::kRegisterBytes);
  out.data_bytes = std::min<std::uint32_t>(set.data_bytes, ex::kRegisterBytes);
  // Rules change these sets, so what was read may be outdated.
  constexpr std::uint32_t kEval = 0x20, kObject = 0x40;
  out.unknown = (set.flags & (kEval | kObject)) != 0;
  // Both ends of intervals, in the order of the kernel's rbtree.
  struct End {
    ex::SetItem item;
    bool closes = false;
  };
  std::vector<End> ends;
  const bool intervals = (set.flags & NFT_SET_INTERVAL) != 0 && set.fields.size() < 2;
  ForEachAttribute(Bytes(set.elements), [&](const Attribute& element) {
    const auto flags = NumberOf(element.value, NFTA_SET_ELEM_FLAGS).value_or(0);
    if (const auto one = FindAttribute(element.value, NFTA_SET_ELEM_EXPR)) {
      if (!OnlyCounts(one->value)) out.unknown = true;
    }
    if (const auto list = FindAttribute(element.value, NFTA_SET_ELEM_EXPRESSIONS)) {
      ForEachAttribute(list->value, [&out](const Attribute& one) {
        if (!OnlyCounts(one.value)) out.unknown = true;
      });
    }
    ex::SetItem item;
    if (const auto data = FindAttribute(element.value, NFTA_SET_ELEM_DATA)) {
      if (const auto value = FindAttribute(data->value, NFTA_DATA_VALUE)) {
        item.data = Copy(value->value);
      } else if (const auto verdict = FindAttribute(data->value, NFTA_DATA_VERDICT)) {
        if (auto action = DecodeVerdict(verdict->value)) item.verdict = ex::Act{*std::move(action)};
      }
    }
    constexpr std::uint32_t kCatchAll = 2;
    if ((flags & kCatchAll) != 0) {
      out.otherwise = std::move(item);
      return;
    }
    const auto key = ValueOf(element.value, NFTA_SET_ELEM_KEY);
    if (!key || key->size() != out.key_bytes) {
      out.unknown = true;
      return;
    }
    item.first = *key;
    item.last = ValueOf(element.value, NFTA_SET_ELEM_KEY_END).value_or(*key);
    if (item.last.size() != item.first.size()) out.unknown = true;
    ends.push_back({std::move(item), (flags & NFT_SET_ELEM_INTERVAL_END) != 0});
  });
  std::ranges::stable_sort(ends, [](const End& a, const End& b) {
    return a.item.first != b.item.first ? a.item.first < b.item.first : a.closes && !b.closes;
  });
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i].closes) continue;
    ex::SetItem item = std::move(ends[i].item);
    if (intervals && item.last == item.first) {
      const bool bounded = i + 1 < ends.size();
      item.last = bounded ? Before(ends[i + 1].item.first) : ByteString(out.key_bytes, 0xff);
      if (item.last < item.first) out.unknown = true;
    }
    out.items.push_back(std::move(item));
  }
  return out;
}

}  // namespace sluice::nftables
