// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/layout/xt_table.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "iptables/layout/xt_layout.h"

namespace sluice::iptables {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::array<std::string_view, kXtHooks> kHookNames = {"PREROUTING", "INPUT", "FORWARD",
                                                               "OUTPUT", "POSTROUTING"};

static_assert(kXtHooks == NF_INET_NUMHOOKS);

// The hook of a built-in chain, or kXtHooks.
std::size_t HookOf(std::string_view chain) {
  return static_cast<std::size_t>(std::ranges::find(kHookNames, chain) - kHookNames.begin());
}

// Verdicts of standard targets. Others are offsets of chains.
constexpr struct {
  std::string_view name;
  int verdict;
} kVerdicts[] = {{"DROP", -NF_DROP - 1},
                 {"ACCEPT", -NF_ACCEPT - 1},
                 {"QUEUE", -NF_QUEUE - 1},
                 {"RETURN", XT_RETURN}};

// Where the fields are that ipt_entry and ip6t_entry share.
struct EntryLayout {
  std::size_t size;
  std::size_t target_offset;
  std::size_t next_offset;
  std::size_t comefrom;  // the kernel's own, as are the counters, which follow
  std::size_t counters;
};
template <typename Entry>
constexpr EntryLayout kLayout = {sizeof(Entry), offsetof(Entry, target_offset),
                                 offsetof(Entry, next_offset), offsetof(Entry, comefrom),
                                 offsetof(Entry, counters)};

const EntryLayout& LayoutOf(Family family) {
  return family == Family::kIpv4 ? kLayout<ipt_entry> : kLayout<ip6t_entry>;
}

template <typename T>
T Get(Bytes bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

template <typename T>
void Put(std::span<std::byte> bytes, std::size_t offset, const T& value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

// The entry at `offset`, or nothing if it does not fit.
std::optional<Bytes> EntryAt(Bytes all, std::size_t offset, const EntryLayout& layout) {
  const Bytes rest = all.subspan(offset);
  if (rest.size() < layout.size) return {};
  const auto next = Get<__u16>(rest, layout.next_offset);
  const auto target = Get<__u16>(rest, layout.target_offset);
  if (target < layout.size || target + sizeof(xt_entry_target) > next || next > rest.size()) {
    return {};
  }
  return rest.first(next);
}

// The target of a valid entry.
Bytes TargetOf(Bytes entry, const EntryLayout& layout) {
  return entry.subspan(Get<__u16>(entry, layout.target_offset));
}

std::string NameOf(Bytes target) {
  const auto* const name =
      reinterpret_cast<const char*>(target.data()) + offsetof(xt_entry_target, u.user.name);
  return {name, strnlen(name, sizeof(xt_entry_target::u.user.name))};
}

// Puts entries one after the other.
class Writer {
 public:
  explicit Writer(Family family) : layout_(LayoutOf(family)) {}

  std::size_t offset() const { return image_.blob.entries.size(); }

  // `verdict` is written if the target is a standard one.
  void Add(Bytes entry, const XtCounters& counters, int verdict = 0) {
    std::vector<std::byte>& out = image_.blob.entries;
    const std::size_t start = out.size();
    out.insert(out.end(), entry.begin(), entry.end());
    const std::span<std::byte> added = std::span(out).subspan(start);
    Put(added, layout_.comefrom, 0U);
    Put(added, layout_.counters, xt_counters{});
    if (const Bytes target = TargetOf(entry, layout_); NameOf(target) == XT_STANDARD_TARGET) {
      Put(added, entry.size() - target.size() + offsetof(xt_standard_target, verdict), verdict);
    }
    image_.counters.push_back(counters);
    ++image_.blob.entry_count;
  }

  // An entry without matches.
  template <typename Target>
  void AddTarget(Target target, std::string_view name, int verdict = 0) {
    target.target.u.user.target_size = static_cast<__u16>(xt::Aligned(sizeof(Target)));
    name.copy(target.target.u.user.name, sizeof(target.target.u.user.name) - 1);
    std::vector<std::byte> entry(SizeWith<Target>());
    Put<__u16>(entry, layout_.target_offset, static_cast<__u16>(layout_.size));
    Put<__u16>(entry, layout_.next_offset, static_cast<__u16>(entry.size()));
    Put(entry, layout_.size, target);
    Add(entry, {}, verdict);
  }

  // The entry that names a chain, or ends the table.
  void AddName(std::string_view chain) {
    xt_error_target target{};
    chain.copy(target.errorname, sizeof(target.errorname) - 1);
    AddTarget(target, XT_ERROR_TARGET);
  }

  template <typename Target>
  std::size_t SizeWith() const {
    return layout_.size + xt::Aligned(sizeof(Target));
  }

  XtImage image_;

 private:
  const EntryLayout& layout_;
};

// What the target of the entry at `offset` is called; `chains` are by the offset of their first
// rule. Nothing if its verdict is none.
std::optional<std::string> ReadTarget(Bytes entry, std::size_t offset, const EntryLayout& layout,
                                      const std::map<std::size_t, std::string>& chains) {
  const Bytes target = TargetOf(entry, layout);
  std::string name = NameOf(target);
  if (name != XT_STANDARD_TARGET) return name;
  if (target.size() < sizeof(xt_standard_target)) return {};
  const int verdict = Get<int>(target, offsetof(xt_standard_target, verdict));
  for (const auto& known : kVerdicts) {
    if (known.verdict == verdict) return std::string(known.name);
  }
  if (verdict < 0) return {};
  const auto to = static_cast<std::size_t>(verdict);
  if (const auto chain = chains.find(to); chain != chains.end()) return chain->second;
  if (to == offset + entry.size()) return std::string();
  return {};
}

}  // namespace

bool SameRules(const XtBlob& a, const XtBlob& b, Family family) {
  if (a.valid_hooks != b.valid_hooks || a.hook_entry != b.hook_entry ||
      a.underflow != b.underflow || a.entries.size() != b.entries.size()) {
    return false;
  }
  const EntryLayout& layout = LayoutOf(family);
  for (std::size_t offset = 0; offset < a.entries.size();) {
    const auto one = EntryAt(a.entries, offset, layout);
    const auto other = EntryAt(b.entries, offset, layout);
    if (!one || !other || one->size() != other->size() ||
        !std::ranges::equal(one->first(layout.comefrom), other->first(layout.comefrom)) ||
        !std::ranges::equal(one->subspan(layout.size), other->subspan(layout.size))) {
      return false;
    }
    offset += one->size();
  }
  return true;
}

std::optional<XtTable> XtTable::Parse(const XtBlob& blob, Family family) {
  const EntryLayout& layout = LayoutOf(family);
  struct Found {
    std::size_t offset;
    Bytes entry;
    unsigned int number;
  };
  // The entries of each chain, with its last one.
  std::vector<std::pair<XtChain, std::vector<Found>>> found;
  std::map<std::size_t, std::string> names;
  unsigned int number = 0;
  bool ended = false;
  for (std::size_t offset = 0; offset < blob.entries.size(); ++number) {
    const auto entry = EntryAt(blob.entries, offset, layout);
    if (!entry || ended) return {};
    const std::size_t next = offset + entry->size();
    for (unsigned int hook = 0; hook < kXtHooks; ++hook) {
      if ((blob.valid_hooks >> hook & 1U) != 0 && blob.hook_entry[hook] == offset) {
        found.push_back({{.name = std::string(kHookNames[hook]), .hook = hook}, {}});
      }
    }
    const Bytes target = TargetOf(*entry, layout);
    if (NameOf(target) == XT_ERROR_TARGET) {
      if (target.size() < sizeof(xt_error_target)) return {};
      // The last one ends the table.
      ended = next == blob.entries.size();
      if (!ended) {
        xt_error_target error;
        std::memcpy(&error, target.data(), sizeof(error));
        std::string name(xt::BoundedText(error.errorname));
        names[next] = name;
        found.push_back({{.name = std::move(name)}, {}});
      }
    } else if (!found.empty()) {
      found.back().second.push_back({offset, *entry, number});
    } else {
      return {};
    }
    offset = next;
  }
  if (!ended || number != blob.entry_count) return {};
  XtTable table(family);
  for (auto& [chain, entries] : found) {
    if (entries.empty()) return {};
    for (const Found& each : entries) {
      auto target = ReadTarget(each.entry, each.offset, layout, names);
      if (!target) return {};
      chain.rules.push_back({.entry = {each.entry.begin(), each.entry.end()},
                             .target = *std::move(target),
                             .counters = {.kept = each.number}});
      const auto counted = Get<xt_counters>(each.entry, layout.counters);
      chain.rules.back().counters.start = {.packets = counted.pcnt, .bytes = counted.bcnt};
    }
    if (chain.hook) chain.policy = std::move(chain.rules.back());
    chain.rules.pop_back();
    // Neither a built-in chain's name for another one, nor two of one name.
    std::string name = chain.name;
    if (chain.hook.has_value() != (HookOf(name) < kXtHooks) ||
        !table.chains_.emplace(std::move(name), std::move(chain)).second) {
      return {};
    }
  }
  return table;
}

bool XtTable::Order::operator()(std::string_view a, std::string_view b) const {
  const std::size_t one = HookOf(a);
  const std::size_t other = HookOf(b);
  return one != other ? one < other : a < b;
}

const XtChain* XtTable::Find(std::string_view name) const {
  const auto found = chains_.find(name);
  return found != chains_.end() ? &found->second : nullptr;
}

XtChain* XtTable::Find(std::string_view name) {
  return const_cast<XtChain*>(std::as_const(*this).Find(name));
}

void XtTable::Create(std::string name) {
  XtChain chain{.name = name};
  chains_.emplace(std::move(name), std::move(chain));
}

void XtTable::Delete(std::string_view name) {
  if (const auto found = chains_.find(name); found != chains_.end()) chains_.erase(found);
}

std::optional<XtImage> XtTable::Build() const {
  Writer out(family_);
  const std::size_t head = out.SizeWith<xt_error_target>();
  const std::size_t foot = out.SizeWith<xt_standard_target>();
  std::map<std::string_view, std::size_t> starts;  // of the chains' first rules
  std::size_t offset = 0;
  for (const auto& [key, chain] : chains_) {
    if (!chain.hook) offset += head;
    starts[chain.name] = offset;
    for (const XtRule& rule : chain.rules) offset += rule.entry.size();
    offset += chain.hook ? chain.policy.entry.size() : foot;
  }
  out.image_.blob.entries.reserve(offset + head);
  const auto add = [&](const XtRule& rule) {
    const auto* const known =
        std::ranges::find(kVerdicts, rule.target, [](const auto& one) { return one.name; });
    int verdict = 0;
    if (known != std::end(kVerdicts)) {
      verdict = known->verdict;
    } else if (rule.target.empty()) {
      verdict = static_cast<int>(out.offset() + rule.entry.size());
    } else if (NameOf(TargetOf(rule.entry, LayoutOf(family_))) == XT_STANDARD_TARGET) {
      const auto chain = starts.find(rule.target);
      if (chain == starts.end()) return false;
      verdict = static_cast<int>(chain->second);
    }
    out.Add(rule.entry, rule.counters, verdict);
    return true;
  };
  for (const auto& [key, chain] : chains_) {
    if (!chain.hook) out.AddName(chain.name);
    const std::size_t start = out.offset();
    if (!std::ranges::all_of(chain.rules, add)) return {};
    if (!chain.hook) {
      out.AddTarget(xt_standard_target{}, XT_STANDARD_TARGET, XT_RETURN);
      continue;
    }
    out.image_.blob.valid_hooks |= 1U << *chain.hook;
    out.image_.blob.hook_entry[*chain.hook] = static_cast<unsigned int>(start);
    out.image_.blob.underflow[*chain.hook] = static_cast<unsigned int>(out.offset());
    if (!add(chain.policy)) return {};
  }
  out.AddName(XT_ERROR_TARGET);
  return std::move(out.image_);
}

}  // namespace sluice::iptables
