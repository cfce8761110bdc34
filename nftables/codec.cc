// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/codec.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sluice::nftables {
namespace {

constexpr std::uint32_t kRegister = NFT_REG_1;

// program.h has these values without the kernel's header.
template <typename T>
constexpr bool Is(T ours, int theirs) {
  return static_cast<int>(ours) == theirs;
}
static_assert(Is(MetaKey::kMark, NFT_META_MARK) && Is(MetaKey::kInterfaceIn, NFT_META_IIFNAME) &&
              Is(MetaKey::kInterfaceOut, NFT_META_OIFNAME) && Is(MetaKey::kUid, NFT_META_SKUID) &&
              Is(MetaKey::kGid, NFT_META_SKGID) && Is(MetaKey::kProtocol, NFT_META_L4PROTO));
static_assert(Is(CtKey::kState, NFT_CT_STATE) && Is(CtKey::kMark, NFT_CT_MARK) &&
              Is(CtKey::kZone, NFT_CT_ZONE));
static_assert(Is(Header::kNetwork, NFT_PAYLOAD_NETWORK_HEADER) &&
              Is(Header::kTransport, NFT_PAYLOAD_TRANSPORT_HEADER));
static_assert(Is(Comparison::kEqual, NFT_CMP_EQ) && Is(Comparison::kNotEqual, NFT_CMP_NEQ) &&
              Is(Comparison::kLess, NFT_CMP_LT) && Is(Comparison::kLessOrEqual, NFT_CMP_LTE) &&
              Is(Comparison::kGreater, NFT_CMP_GT) && Is(Comparison::kGreaterOrEqual, NFT_CMP_GTE));
static_assert(Is(VerdictCode::kDrop, NF_DROP) && Is(VerdictCode::kAccept, NF_ACCEPT) &&
              Is(VerdictCode::kJump, NFT_JUMP) && Is(VerdictCode::kGoto, NFT_GOTO) &&
              Is(VerdictCode::kReturn, NFT_RETURN));

class Encoder {
 public:
  Encoder(Family family, const capture::Counters& counters,
          const std::function<SetReference(const InSet&)>& set_of, MessageWriter& out)
      : family_(family), counters_(counters), set_of_(set_of), out_(out) {}

  void operator()(const LoadMeta& load) {
    In("meta", [&] {
      out_.PutBig32(NFTA_META_DREG, kRegister);
      out_.PutBig32(NFTA_META_KEY, static_cast<std::uint32_t>(load.key));
    });
  }
  void operator()(const StoreMeta& store) {
    In("meta", [&] {
      out_.PutBig32(NFTA_META_KEY, static_cast<std::uint32_t>(store.key));
      out_.PutBig32(NFTA_META_SREG, kRegister);
    });
  }
  void operator()(const LoadCt& load) {
    In("ct", [&] {
      out_.PutBig32(NFTA_CT_DREG, kRegister);
      out_.PutBig32(NFTA_CT_KEY, static_cast<std::uint32_t>(load.key));
    });
  }
  void operator()(const StoreCt& store) {
    In("ct", [&] {
      out_.PutBig32(NFTA_CT_KEY, static_cast<std::uint32_t>(store.key));
      out_.PutBig32(NFTA_CT_SREG, kRegister);
    });
  }
  void operator()(const LoadSocket&) {
    In("socket", [&] {
      out_.PutBig32(NFTA_SOCKET_KEY, NFT_SOCKET_TRANSPARENT);
      out_.PutBig32(NFTA_SOCKET_DREG, kRegister);
    });
  }
  void operator()(const LoadPayload& load) {
    In("payload", [&] {
      out_.PutBig32(NFTA_PAYLOAD_DREG, kRegister);
      out_.PutBig32(NFTA_PAYLOAD_BASE, static_cast<std::uint32_t>(load.header));
      out_.PutBig32(NFTA_PAYLOAD_OFFSET, load.offset);
      out_.PutBig32(NFTA_PAYLOAD_LEN, load.length);
    });
  }
  void operator()(const LoadConstant& load) {
    In("immediate", [&] {
      out_.PutBig32(NFTA_IMMEDIATE_DREG, kRegister);
      PutData(out_, NFTA_IMMEDIATE_DATA, load.value.span());
    });
  }
  void operator()(const Bitwise& bitwise) {
    In("bitwise", [&] {
      out_.PutBig32(NFTA_BITWISE_SREG, kRegister);
      out_.PutBig32(NFTA_BITWISE_DREG, kRegister);
      out_.PutBig32(NFTA_BITWISE_LEN, bitwise.mask.size);
      PutData(out_, NFTA_BITWISE_MASK, bitwise.mask.span());
      PutData(out_, NFTA_BITWISE_XOR, bitwise.bits.span());
    });
  }
  void operator()(const Compare& compare) {
    In("cmp", [&] {
      out_.PutBig32(NFTA_CMP_SREG, kRegister);
      out_.PutBig32(NFTA_CMP_OP, static_cast<std::uint32_t>(compare.comparison));
      PutData(out_, NFTA_CMP_DATA, compare.value.span());
    });
  }
  void operator()(const NotInRange& range) {
    In("range", [&] {
      out_.PutBig32(NFTA_RANGE_SREG, kRegister);
      out_.PutBig32(NFTA_RANGE_OP, NFT_RANGE_NEQ);
      PutData(out_, NFTA_RANGE_FROM_DATA, range.first.span());
      PutData(out_, NFTA_RANGE_TO_DATA, range.last.span());
    });
  }
  void operator()(const InSet& set) {
    In("lookup", [&] {
      const SetReference reference = set_of_(set);
      out_.PutText(NFTA_LOOKUP_SET, reference.name);
      out_.PutBig32(NFTA_LOOKUP_SREG, kRegister);
      if (reference.id != 0) out_.PutBig32(NFTA_LOOKUP_SET_ID, reference.id);
    });
  }
  void operator()(const Count&) {
    In("counter", [&] {
      out_.PutBig64(NFTA_COUNTER_BYTES, counters_.bytes);
      out_.PutBig64(NFTA_COUNTER_PACKETS, counters_.packets);
    });
  }
  void operator()(const RedirectToPort&) {
    In("redir", [&] { out_.PutBig32(NFTA_REDIR_REG_PROTO_MIN, kRegister); });
  }
  void operator()(const TproxyToPort&) {
    In("tproxy", [&] {
      out_.PutBig32(NFTA_TPROXY_FAMILY, KernelFamily(family_));
      out_.PutBig32(NFTA_TPROXY_REG_PORT, kRegister);
    });
  }
  void operator()(const ImmediateVerdict& verdict) {
    In("immediate", [&] {
      out_.PutBig32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
      const std::size_t data = out_.Open(NFTA_IMMEDIATE_DATA);
      const std::size_t nest = out_.Open(NFTA_DATA_VERDICT);
      out_.PutBig32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(verdict.code));
      if (!verdict.chain.empty()) out_.PutText(NFTA_VERDICT_CHAIN, verdict.chain);
      out_.Close(nest);
      out_.Close(data);
    });
  }
  // Not written: a rule with an unknown expression is written as it was read.
  void operator()(const Unknown&) {}

 private:
  void In(const char* name, const std::function<void()>& write) {
    PutExpression(out_, name, write);
  }

  Family family_;
  const capture::Counters& counters_;
  const std::function<SetReference(const InSet&)>& set_of_;
  MessageWriter& out_;
};

// The attributes of one expression, by type.
class Fields {
 public:
  explicit Fields(Bytes bytes) : bytes_(bytes) {}

  bool Has(std::uint16_t type) const { return FindAttribute(bytes_, type).has_value(); }
  std::optional<std::uint32_t> Number(std::uint16_t type) const {
    const auto found = FindAttribute(bytes_, type);
    return found ? found->Big32() : std::nullopt;
  }
  std::uint64_t Number64(std::uint16_t type) const {
    const auto found = FindAttribute(bytes_, type);
    return found ? found->Big64().value_or(0) : 0;
  }
  bool Is(std::uint16_t type, std::uint32_t value) const { return Number(type) == value; }
  std::string Text(std::uint16_t type) const {
    const auto found = FindAttribute(bytes_, type);
    return found ? std::string(found->Text()) : std::string();
  }
  std::optional<Data> Value(std::uint16_t type) const {
    const auto nest = FindAttribute(bytes_, type);
    const auto value = nest ? FindAttribute(nest->value, NFTA_DATA_VALUE) : std::nullopt;
    if (!value || value->value.empty() || value->value.size() > 16) return {};
    return Data(value->value);
  }
  std::optional<Attribute> Nest(std::uint16_t type) const { return FindAttribute(bytes_, type); }

 private:
  Bytes bytes_;
};

std::optional<MetaKey> KnownMeta(std::optional<std::uint32_t> key) {
  for (const MetaKey known : {MetaKey::kMark, MetaKey::kInterfaceIn, MetaKey::kInterfaceOut,
                              MetaKey::kUid, MetaKey::kGid, MetaKey::kProtocol}) {
    if (key == static_cast<std::uint32_t>(known)) return known;
  }
  return {};
}

std::optional<CtKey> KnownCt(std::optional<std::uint32_t> key) {
  for (const CtKey known : {CtKey::kState, CtKey::kMark, CtKey::kZone}) {
    if (key == static_cast<std::uint32_t>(known)) return known;
  }
  return {};
}

std::optional<Expression> VerdictOf(const Fields& fields) {
  const auto data = fields.Nest(NFTA_IMMEDIATE_DATA);
  const auto nest = data ? FindAttribute(data->value, NFTA_DATA_VERDICT) : std::nullopt;
  if (!nest) return {};
  const Fields verdict(nest->value);
  const auto code = verdict.Number(NFTA_VERDICT_CODE);
  for (const VerdictCode known : {VerdictCode::kDrop, VerdictCode::kAccept, VerdictCode::kJump,
                                  VerdictCode::kGoto, VerdictCode::kReturn}) {
    if (code == static_cast<std::uint32_t>(known)) {
      return ImmediateVerdict{known, verdict.Text(NFTA_VERDICT_CHAIN)};
    }
  }
  return {};
}

std::optional<Expression> DecodeOne(std::string_view name, const Fields& fields, Family family,
                                    capture::Counters& counters) {
  if (name == "meta") {
    const auto key = KnownMeta(fields.Number(NFTA_META_KEY));
    if (!key) return {};
    if (fields.Is(NFTA_META_DREG, kRegister)) return LoadMeta{*key};
    if (fields.Is(NFTA_META_SREG, kRegister)) return StoreMeta{*key};
  } else if (name == "ct") {
    const auto key = KnownCt(fields.Number(NFTA_CT_KEY));
    if (!key || fields.Has(NFTA_CT_DIRECTION)) return {};
    if (fields.Is(NFTA_CT_DREG, kRegister)) return LoadCt{*key};
    if (fields.Is(NFTA_CT_SREG, kRegister)) return StoreCt{*key};
  } else if (name == "socket") {
    if (fields.Is(NFTA_SOCKET_KEY, NFT_SOCKET_TRANSPARENT) &&
        fields.Is(NFTA_SOCKET_DREG, kRegister)) {
      return LoadSocket{};
    }
  } else if (name == "payload") {
    const auto base = fields.Number(NFTA_PAYLOAD_BASE);
    const auto offset = fields.Number(NFTA_PAYLOAD_OFFSET);
    const auto length = fields.Number(NFTA_PAYLOAD_LEN);
    if (!fields.Is(NFTA_PAYLOAD_DREG, kRegister) || !offset || !length) return {};
    if (*offset > 255 || *length > 16) return {};
    if (base != NFT_PAYLOAD_NETWORK_HEADER && base != NFT_PAYLOAD_TRANSPORT_HEADER) return {};
    return LoadPayload{static_cast<Header>(*base), static_cast<std::uint8_t>(*offset),
                       static_cast<std::uint8_t>(*length)};
  } else if (name == "immediate") {
    if (fields.Is(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT)) return VerdictOf(fields);
    const auto value = fields.Value(NFTA_IMMEDIATE_DATA);
    if (fields.Is(NFTA_IMMEDIATE_DREG, kRegister) && value) return LoadConstant{*value};
  } else if (name == "bitwise") {
    const auto mask = fields.Value(NFTA_BITWISE_MASK);
    const auto bits = fields.Value(NFTA_BITWISE_XOR);
    if (fields.Number(NFTA_BITWISE_OP).value_or(0) != 0 || !mask || !bits) return {};
    if (fields.Is(NFTA_BITWISE_SREG, kRegister) && fields.Is(NFTA_BITWISE_DREG, kRegister)) {
      return Bitwise{*mask, *bits};
    }
  } else if (name == "cmp") {
    const auto value = fields.Value(NFTA_CMP_DATA);
    const auto operation = fields.Number(NFTA_CMP_OP);
    if (fields.Is(NFTA_CMP_SREG, kRegister) && value && operation && *operation <= NFT_CMP_GTE) {
      return Compare{static_cast<Comparison>(*operation), *value};
    }
  } else if (name == "range") {
    const auto first = fields.Value(NFTA_RANGE_FROM_DATA);
    const auto last = fields.Value(NFTA_RANGE_TO_DATA);
    if (fields.Is(NFTA_RANGE_SREG, kRegister) && fields.Is(NFTA_RANGE_OP, NFT_RANGE_NEQ) && first &&
        last) {
      return NotInRange{*first, *last};
    }
  } else if (name == "lookup") {
    const bool plain =
        !fields.Has(NFTA_LOOKUP_DREG) && fields.Number(NFTA_LOOKUP_FLAGS).value_or(0) == 0;
    if (plain && fields.Is(NFTA_LOOKUP_SREG, kRegister)) {
      return InSet{{}, fields.Text(NFTA_LOOKUP_SET)};
    }
  } else if (name == "counter") {
    counters = {.packets = fields.Number64(NFTA_COUNTER_PACKETS),
                .bytes = fields.Number64(NFTA_COUNTER_BYTES)};
    return Count{};
  } else if (name == "redir") {
    // The kernel adds the range's end, even for one port, and the flag for ports.
    const bool one_port = fields.Number(NFTA_REDIR_REG_PROTO_MAX).value_or(kRegister) == kRegister;
    const std::uint32_t flags = fields.Number(NFTA_REDIR_FLAGS).value_or(0);
    if (fields.Is(NFTA_REDIR_REG_PROTO_MIN, kRegister) && one_port &&
        (flags & ~std::uint32_t{NF_NAT_RANGE_PROTO_SPECIFIED}) == 0) {
      return RedirectToPort{};
    }
  } else if (name == "tproxy") {
    if (fields.Is(NFTA_TPROXY_FAMILY, KernelFamily(family)) && !fields.Has(NFTA_TPROXY_REG_ADDR) &&
        fields.Is(NFTA_TPROXY_REG_PORT, kRegister)) {
      return TproxyToPort{};
    }
  }
  return {};
}

}  // namespace

void EncodeProgram(const Program& program, Family family, const capture::Counters& counters,
                   const std::function<SetReference(const InSet&)>& set_of, MessageWriter& out) {
  const std::size_t nest = out.Open(NFTA_RULE_EXPRESSIONS);
  Encoder encoder(family, counters, set_of, out);
  for (const Expression& expression : program) std::visit(encoder, expression);
  out.Close(nest);
}

DecodedRule DecodeProgram(Bytes expressions, Family family) {
  DecodedRule out;
  ForEachAttribute(expressions, [&](const Attribute& element) {
    const Fields fields(element.value);
    const std::string name = fields.Text(NFTA_EXPR_NAME);
    const auto data = fields.Nest(NFTA_EXPR_DATA);
    auto known = DecodeOne(name, Fields(data ? data->value : Bytes()), family, out.counters);
    if (known) {
      out.program.push_back(*std::move(known));
    } else {
      out.program.emplace_back(Unknown{name});
    }
  });
  return out;
}

void PutExpression(MessageWriter& out, const char* name, const std::function<void()>& fill) {
  const std::size_t element = out.Open(NFTA_LIST_ELEM);
  out.PutText(NFTA_EXPR_NAME, name);
  const std::size_t data = out.Open(NFTA_EXPR_DATA);
  fill();
  out.Close(data);
  out.Close(element);
}

void PutData(MessageWriter& out, std::uint16_t attribute, Bytes value) {
  const std::size_t nest = out.Open(attribute);
  out.Put(NFTA_DATA_VALUE, value);
  out.Close(nest);
}

}  // namespace sluice::nftables
