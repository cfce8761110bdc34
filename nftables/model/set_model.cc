// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/hex.h"
#include "nftables/model/rule_decoder.h"

namespace sluice::nftables {
namespace {

namespace ex = capture::explain;
using ex::ByteString;

ByteString Copy(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

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
