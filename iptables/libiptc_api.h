// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

// Internal to xtables, the only file that uses libiptc.

#include <libiptc/libiptc.h>
// Unlike libiptc.h, libip6tc.h lacks its own extern "C".
extern "C" {
#include <libiptc/libip6tc.h>
}

#include "base/ip_address.h"

namespace sluice::iptables::libiptc {

// libiptc has the same functions for IPv4 and IPv6, under different names.
struct V4 {
  using Entry = ipt_entry;
  static constexpr Family kFamily = Family::kIpv4;
  static constexpr auto* init = iptc_init;
  static constexpr auto* free = iptc_free;
  static constexpr auto* first_chain = iptc_first_chain;
  static constexpr auto* next_chain = iptc_next_chain;
  static constexpr auto* first_rule = iptc_first_rule;
  static constexpr auto* next_rule = iptc_next_rule;
  static constexpr auto* get_target = iptc_get_target;
  static constexpr auto* builtin = iptc_builtin;
  static constexpr auto* is_chain = iptc_is_chain;
  static constexpr auto* get_policy = iptc_get_policy;
  static constexpr auto* create_chain = iptc_create_chain;
  static constexpr auto* delete_chain = iptc_delete_chain;
  static constexpr auto* flush_entries = iptc_flush_entries;
  static constexpr auto* append_entry = iptc_append_entry;
  static constexpr auto* insert_entry = iptc_insert_entry;
  static constexpr auto* delete_num_entry = iptc_delete_num_entry;
  static constexpr auto* commit = iptc_commit;
};

struct V6 {
  using Entry = ip6t_entry;
  static constexpr Family kFamily = Family::kIpv6;
  static constexpr auto* init = ip6tc_init;
  static constexpr auto* free = ip6tc_free;
  static constexpr auto* first_chain = ip6tc_first_chain;
  static constexpr auto* next_chain = ip6tc_next_chain;
  static constexpr auto* first_rule = ip6tc_first_rule;
  static constexpr auto* next_rule = ip6tc_next_rule;
  static constexpr auto* get_target = ip6tc_get_target;
  static constexpr auto* builtin = ip6tc_builtin;
  static constexpr auto* is_chain = ip6tc_is_chain;
  static constexpr auto* get_policy = ip6tc_get_policy;
  static constexpr auto* create_chain = ip6tc_create_chain;
  static constexpr auto* delete_chain = ip6tc_delete_chain;
  static constexpr auto* flush_entries = ip6tc_flush_entries;
  static constexpr auto* append_entry = ip6tc_append_entry;
  static constexpr auto* insert_entry = ip6tc_insert_entry;
  static constexpr auto* delete_num_entry = ip6tc_delete_num_entry;
  static constexpr auto* commit = ip6tc_commit;
};

}  // namespace sluice::iptables::libiptc
