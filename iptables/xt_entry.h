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

// The one place that knows how the kernel lays out a rule: struct ipt_entry or ip6t_entry, its
// matches, its target (linux/netfilter_ipv4/ip_tables.h, linux/netfilter/xt_*.h), and the one place
// that turns byte orders. Pure.
namespace sluice::iptables {

// An entry as libiptc's iptc_append_entry takes it: a jump carries the name of its chain in the
// target, and libiptc finds the offset. Counters are zero. The rule must be one that netfilter can
// express (a PortMatch needs a protocol), and have no list; throws std::invalid_argument otherwise.
std::vector<std::byte> EncodeEntry(const capture::Rule& rule, Family family);

// The rule of an entry that the kernel returned; `target` is what iptc_get_target says of it (the
// chain of a jump, the verdict, or the extension's name). nullopt for a rule that Sluice cannot
// have written: an extension, a revision or an option that it does not use. Any bytes are safe.
std::optional<capture::Rule> DecodeEntry(std::span<const std::byte> entry, std::string_view target,
                                         Family family);

// What can be said of an entry whoever wrote it; without counters. Any bytes are safe.
capture::ForeignRule DecodeForeignEntry(std::span<const std::byte> entry, std::string_view target,
                                        Family family);

// A match or target extension that a rule set needs, and the kernel module that has it.
struct Extension {
  std::string name;  // as the kernel knows it: "owner"
  int revision = 0;
  bool is_target = false;
  std::string module;  // "xt_owner"

  friend auto operator<=>(const Extension&, const Extension&) = default;
};

// All that `rules` needs, each once.
std::vector<Extension> ExtensionsOf(const capture::TableRules& rules);

}  // namespace sluice::iptables
