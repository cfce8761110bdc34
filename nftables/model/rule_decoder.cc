// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/model/rule_decoder.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>

#include <array>

namespace sluice::nftables {

namespace ex = capture::explain;
using ex::ByteString;
using ex::Slot;

std::optional<ByteString> ValueOf(Bytes attributes, std::uint16_t type) {
  const auto nest = FindAttribute(attributes, type);
  const auto value = nest ? FindAttribute(nest->value, NFTA_DATA_VALUE) : std::nullopt;
  if (!value || value->value.empty() || value->value.size() > ex::kRegisterBytes) return {};
  return ByteString(value->value.begin(), value->value.end());
}

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

ex::ModelRule RuleDecoder::Decode(const RawRule& raw) {
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

void RuleDecoder::Forget(const Slot& slot) {
  for (std::size_t i = slot.at / 4; i < (slot.at + slot.size + 3U) / 4U && i < held_.size(); ++i) {
    held_[i] = {};
  }
}

void RuleDecoder::Unknown(const std::string& name) {
  Add(ex::Check{ex::UnknownTest{name}});
  Add(ex::Act{ex::UnknownAction{name}});
  Say(name + " ...");
}

bool RuleDecoder::Harmless(const std::string& words) {
  Say(words);
  return true;
}

bool RuleDecoder::MayEnd(const std::string& name) {
  Add(ex::Check{ex::UnknownTest{name}});
  Say(name + " ...");
  return true;
}

bool RuleDecoder::One(const std::string& name, Bytes data) {
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

void RuleDecoder::SayVerdict(const ex::Action& action) {
  if (std::holds_alternative<capture::Accept>(action)) Say("accept");
  if (std::holds_alternative<capture::Drop>(action)) Say("drop");
  if (std::holds_alternative<capture::Return>(action)) Say("return");
  if (std::holds_alternative<ex::GoOn>(action)) Say("continue");
  if (const auto* jump = std::get_if<capture::Jump>(&action)) Say("jump " + jump->chain);
  if (const auto* go = std::get_if<capture::Goto>(&action)) Say("goto " + go->chain);
  if (const auto* other = std::get_if<ex::UnknownAction>(&action)) Say(other->what);
}

std::string RuleDecoder::Source(const Slot& slot, Shown as) {
  const Held& held = At(slot);
  if (!held.constant.empty()) return nftables::ToText(held.constant, as);
  std::string out = held.words;
  if (!held.mask.empty()) out += " & " + nftables::ToText(held.mask, as);
  return out;
}

bool RuleDecoder::Nat(Bytes data) {
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

bool RuleDecoder::Redirect(Bytes data) {
  ex::NatTo nat{.to_self = true};
  nat.port = SlotOf(NumberOf(data, NFTA_REDIR_REG_PROTO_MIN), 2);
  nat.last_port = SlotOf(NumberOf(data, NFTA_REDIR_REG_PROTO_MAX), 2);
  Say("redirect" + (nat.port ? " to :" + Source(*nat.port, Shown::kPort) : ""));
  Add(nat);
  return true;
}

bool RuleDecoder::Tproxy(Bytes data) {
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

bool RuleDecoder::OfXtables(bool target, Bytes data) {
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

ex::ModelRule DecodeModelRule(const RawRule& rule, Family family,
                              const std::map<std::string, std::size_t>& sets,
                              const std::vector<ex::SetModel>& models,
                              const ExtensionDecoder& extensions) {
  return RuleDecoder(family, sets, models, extensions).Decode(rule);
}

}  // namespace sluice::nftables
