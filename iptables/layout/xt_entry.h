// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "capture/installed.h"
#include "capture/rule.h"

// The kernel's layout of a rule: struct ipt_entry or ip6t_entry, its matches, its target
// (linux/netfilter_ipv4/ip_tables.h, linux/netfilter/xt_*.h). No other code knows the layout or
// converts byte order. Pure.
namespace sluice::iptables {

// The kernel's entry of a rule, with counters of zero. The verdict of a standard target is zero,
// too: an offset is known only within a table (see XtTable). The rule must be one that netfilter
// can express (a PortMatch needs a protocol), and have no list; throws std::invalid_argument
// otherwise.
std::vector<std::byte> EncodeEntry(const capture::Rule& rule, Family family);

// What decoders call `target`: the verdict ("ACCEPT"), the chain of a jump, or the extension.
std::string TargetName(const capture::Target& target);

// The rule of an entry from the kernel; `target` is TargetName's, or empty where the rule has
// none. nullopt for a rule that Sluice cannot have written:
// it has an extension, a revision or an option that Sluice does not use. Any bytes are safe.
std::optional<capture::Rule> DecodeEntry(std::span<const std::byte> entry, std::string_view target,
                                         Family family);

// What is known about an entry that anybody may have written; without counters. Any bytes are safe.
capture::ForeignRule DecodeForeignEntry(std::span<const std::byte> entry, std::string_view target,
                                        Family family);

// A match or target extension that rules need, and the kernel module that provides it.
struct Extension {
  std::string name;  // its name in the kernel: "owner"
  int revision = 0;
  bool is_target = false;
  std::string module;  // "xt_owner"

  friend auto operator<=>(const Extension&, const Extension&) = default;
};

// All extensions that `rules` need, each once.
std::vector<Extension> ExtensionsOf(const capture::TableRules& rules);

}  // namespace sluice::iptables
