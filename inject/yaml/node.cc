// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/yaml/node.h"

#include <algorithm>
#include <array>

namespace sluice::inject::yaml {
namespace {

constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> choices) {
  return std::ranges::find(choices, text) != choices.end();
}

bool IsPlain(const Node& node) {
  return node.IsScalar() && node.style == Style::kPlain && node.tag.empty();
}

bool AllDigits(std::string_view text, std::string_view digits) {
  return !text.empty() && text.find_first_not_of(digits) == std::string_view::npos;
}

// As in kubectl's parser: 12, 0755, 0x1f, 1_000, 1.5e3, .inf. Dates and base 60 are strings.
bool LooksLikeNumber(std::string_view text) {
  constexpr std::string_view kDecimal = "0123456789";
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  if (IsOneOf(text, {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"})) return true;
  if (text.size() > 2 && text[0] == '0') {
    const std::string_view rest = text.substr(2);
    if ((text[1] == 'x' || text[1] == 'X') && AllDigits(rest, "0123456789abcdefABCDEF_")) {
      return true;
    }
    if ((text[1] == 'o' || text[1] == 'O') && AllDigits(rest, "01234567_")) return true;
    if ((text[1] == 'b' || text[1] == 'B') && AllDigits(rest, "01_")) return true;
  }
  if (text.empty()) return false;
  if (AllDigits(text, "0123456789_")) return text[0] != '_';
  const std::size_t exponent = text.find_first_of("eE");
  if (exponent != std::string_view::npos) {
    std::string_view power = text.substr(exponent + 1);
    if (power.starts_with('-') || power.starts_with('+')) power.remove_prefix(1);
    if (!AllDigits(power, kDecimal)) return false;
    text = text.substr(0, exponent);
  }
  const std::size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view part =
      point == std::string_view::npos ? std::string_view() : text.substr(point + 1);
  return (AllDigits(whole, kDecimal) && (part.empty() || AllDigits(part, kDecimal))) ||
         (whole.empty() && AllDigits(part, kDecimal));
}

}  // namespace

const Node& LastLeaf(const Node& node) {
  const Node* last = &node;
  while (!last->flow) {
    if (last->IsMapping() && !last->members.empty()) {
      last = &last->members.back().value;
    } else if (last->IsSequence() && !last->items.empty()) {
      last = &last->items.back();
    } else {
      break;
    }
  }
  return *last;
}

std::size_t LastByte(const Node& node) { return LastLeaf(node).end; }

bool SameValue(const Node& a, const Node& b) {
  if (a.kind != b.kind || a.anchor != b.anchor || a.tag != b.tag || a.value != b.value) {
    return false;
  }
  if (a.IsScalar() && (a.style == Style::kPlain) != (b.style == Style::kPlain)) {
    return IsString(a) && IsString(b);
  }
  return std::ranges::equal(a.items, b.items, SameValue) &&
         std::ranges::equal(a.members, b.members, [](const Member& x, const Member& y) {
           return SameValue(x.key, y.key) && SameValue(x.value, y.value);
         });
}

bool IsNull(const Node& node) {
  if (!node.IsScalar()) return false;
  if (node.tag == std::string(kTagPrefix) + "null") return true;
  return IsPlain(node) && IsOneOf(node.value, {"", "~", "null", "Null", "NULL"});
}

Truth AsBool(const Node& node) {
  const bool tagged = node.IsScalar() && node.tag == std::string(kTagPrefix) + "bool";
  if (!tagged && !IsPlain(node)) return Truth::kNeither;
  if (IsOneOf(node.value,
              {"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"})) {
    return Truth::kYes;
  }
  if (IsOneOf(node.value,
              {"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"})) {
    return Truth::kNo;
  }
  return Truth::kNeither;
}

bool IsString(const Node& node) {
  if (!node.IsScalar()) return false;
  if (!node.tag.empty()) {
    return node.tag == std::string(kTagPrefix) + "str" || node.tag == "!";
  }
  if (node.style != Style::kPlain) return true;
  return !IsNull(node) && AsBool(node) == Truth::kNeither && !LooksLikeNumber(node.value);
}

const Member* FindMember(const Node& mapping, std::string_view key) {
  if (!mapping.IsMapping()) return nullptr;
  const auto found = std::ranges::find_if(
      mapping.members.rbegin(), mapping.members.rend(),
      [key](const Member& member) { return member.key.IsScalar() && member.key.value == key; });
  return found == mapping.members.rend() ? nullptr : &*found;
}

namespace {

template <typename Visit>
void ForEachNode(const Node& node, const Visit& visit) {
  visit(node);
  for (const Node& item : node.items) ForEachNode(item, visit);
  for (const Member& member : node.members) {
    ForEachNode(member.key, visit);
    ForEachNode(member.value, visit);
  }
}

}  // namespace

Reader::Reader(const Node& root) {
  ForEachNode(root, [this](const Node& node) {
    if (!node.anchor.empty()) anchors_[node.anchor].push_back({&node, false});
    if (!node.IsAlias()) return;
    // The last anchor of that name before the alias; the parser guarantees that there is one.
    if (const auto named = anchors_.find(node.value); named != anchors_.end()) {
      named->second.back().used = true;
    }
  });
}

bool Reader::IsShared(const Node& node) const {
  const auto named = anchors_.find(node.anchor);
  return named != anchors_.end() &&
         std::ranges::any_of(named->second, [&node](const Anchor& anchor) {
           return anchor.node == &node && anchor.used;
         });
}

const Node* Reader::Resolve(const Node* node) const {
  // An anchor's value is never an alias, so one step is enough.
  if (node == nullptr || !node->IsAlias()) return node;
  const auto named = anchors_.find(node->value);
  if (named == anchors_.end()) return nullptr;
  const auto found = std::ranges::find_if(
      named->second.rbegin(), named->second.rend(),
      [node](const Anchor& anchor) { return anchor.node->begin < node->begin; });
  return found == named->second.rend() ? nullptr : found->node;
}

const Node* Reader::Get(const Node* node, std::string_view key) const {
  // Nested merges can be many more than the text is long.
  std::size_t steps = 1000;
  return Get(node, key, steps);
}

const Node* Reader::Get(const Node* node, std::string_view key, std::size_t& steps) const {
  node = Resolve(node);
  if (node == nullptr || !node->IsMapping() || steps == 0) return nullptr;
  --steps;
  if (const Member* own = FindMember(*node, key)) return Resolve(&own->value);
  const Member* merged = FindMember(*node, "<<");
  if (merged == nullptr) return nullptr;
  const Node* from = Resolve(&merged->value);
  if (from == nullptr) return nullptr;
  if (!from->IsSequence()) return Get(from, key, steps);
  for (const Node& each : from->items) {
    if (const Node* value = Get(&each, key, steps)) return value;
  }
  return nullptr;
}

}  // namespace sluice::inject::yaml
