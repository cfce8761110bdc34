// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/cidr.h"
#include "base/parse.h"
#include "base/port_range.h"
#include "capture/settings/settings.h"

namespace sluice::capture {

// Turns the text of settings into values. Each function throws Error(kUsage) that names the
// setting, the value and what is expected. `settings` must outlive it.
class SettingReader {
 public:
  explicit SettingReader(const Settings& settings) : settings_(settings) {}

  // Converts one value with `parse`, which throws std::invalid_argument saying what is expected.
  template <typename Parse>
  auto Value(std::string_view name, Parse parse) const {
    return Item(name, settings_.Text(name), parse);
  }

  template <typename Parse>
  auto List(std::string_view name, Parse parse) const {
    const auto items =
        Item(name, settings_.Text(name), [](std::string_view text) { return SplitList(text); });
    std::vector<decltype(parse(std::string_view()))> out;
    out.reserve(items.size());
    for (const std::string_view item : items) out.push_back(Item(name, item, parse));
    return out;
  }

  // Drops repeated values and keeps the order. For short lists.
  template <typename Parse>
  auto UniqueList(std::string_view name, Parse parse) const {
    auto values = List(name, parse);
    decltype(values) out;
    for (auto& value : values) {
      if (std::ranges::find(out, value) == out.end()) out.push_back(std::move(value));
    }
    return out;
  }

  bool Bool(std::string_view name) const { return settings_.Bool(name); }
  bool IsAll(std::string_view name) const { return Trim(settings_.Text(name)) == "*"; }
  const std::string& Text(std::string_view name) const { return settings_.Text(name); }
  std::string Origin(std::string_view name) const { return settings_.Origin(name); }
  [[noreturn]] void Refuse(std::string_view name, std::string_view part,
                           std::string_view expected) const {
    RefuseValue(settings_, name, part, expected);
  }

  // Takes only one of `choices`; `expected` names them.
  template <typename T>
  T OneOf(std::string_view name, std::initializer_list<std::pair<std::string_view, T>> choices,
          std::string_view expected) const {
    const std::string_view text = Trim(Text(name));
    for (const auto& [choice, value] : choices) {
      if (text == choice) return value;
    }
    Refuse(name, text, expected);
  }

  std::uint16_t Port(std::string_view name) const;
  std::uint32_t Number(std::string_view name, std::uint64_t min, std::uint64_t max) const;
  std::chrono::milliseconds Duration(std::string_view name, std::chrono::hours max) const;
  // Sorted and merged.
  std::vector<PortRange> Ports(std::string_view name) const;
  std::vector<Cidr> Ranges(std::string_view name) const;
  // Numbers, or names of accounts.
  std::vector<std::uint32_t> Uids(std::string_view name) const;
  std::vector<std::uint32_t> Gids(std::string_view name) const;
  // Interface names, as the kernel allows them (dev_valid_name), with iptables' trailing '+'.
  std::vector<std::string> Interfaces(std::string_view name) const;

 private:
  template <typename Parse>
  auto Item(std::string_view name, std::string_view text, Parse parse) const
      -> decltype(parse(text)) {
    try {
      return parse(text);
    } catch (const std::invalid_argument& error) {
      Refuse(name, text, error.what());
    }
  }

  const Settings& settings_;
};

}  // namespace sluice::capture
