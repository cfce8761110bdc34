// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "capture/installed.h"

// A table of x_tables, in the kernel's form and as chains of rules that can be edited. In the
// kernel's form (linux/netfilter_ipv4/ip_tables.h) entries follow one another: a chain starts with
// an entry that has its name, a built-in one where its hook says, and ends with RETURN or the
// policy; jumps are offsets. Pure. Host byte order.
namespace sluice::iptables {

inline constexpr std::size_t kXtHooks = 5;  // NF_INET_NUMHOOKS

// What IPT_SO_GET_ENTRIES gives and IPT_SO_SET_REPLACE takes. Offsets are in bytes.
struct XtBlob {
  unsigned int valid_hooks = 0;                        // a bit for each NF_INET_* hook
  std::array<unsigned int, kXtHooks> hook_entry = {};  // where built-in chains start
  std::array<unsigned int, kXtHooks> underflow = {};   // where their policies are
  unsigned int entry_count = 0;
  std::vector<std::byte> entries = {};
};

// Whether both hold the same rules; counters may differ. Both must have the form of a table.
bool SameRules(const XtBlob& a, const XtBlob& b, Family family);

// Where an entry's counters come from when a table is replaced.
struct XtCounters {
  // Its number among the entries that were read, from 0: it keeps what the kernel has counted until
  // it is replaced. A new one starts with `start`.
  std::optional<unsigned int> kept = {};
  capture::Counters start = {};
};

struct XtRule {
  // The kernel's bytes, except the verdict of a standard target, which `target` says.
  std::vector<std::byte> entry;
  // ACCEPT, DROP, QUEUE, RETURN, the chain of a jump, or the name of an extension. Empty for a rule
  // that only counts.
  std::string target;
  XtCounters counters = {};
};

struct XtChain {
  std::string name;
  // Of a built-in chain: its hook, NF_INET_*, and its policy as a rule.
  std::optional<unsigned int> hook = {};
  XtRule policy = {};
  std::vector<XtRule> rules = {};
};

// A table in the kernel's form, with the counters of its entries.
struct XtImage {
  XtBlob blob = {};
  std::vector<XtCounters> counters = {};
};

class XtTable {
 public:
  // Nothing if `blob` does not have the form that is described above. Any bytes are safe.
  static std::optional<XtTable> Parse(const XtBlob& blob, Family family);

  // Built-in chains in the order of their hooks, then the others by name, as iptables keeps them.
  struct Order {
    using is_transparent = void;
    bool operator()(std::string_view a, std::string_view b) const;
  };
  const std::map<std::string, XtChain, Order>& chains() const { return chains_; }
  // nullptr if there is none. Valid until it is deleted.
  XtChain* Find(std::string_view name);
  const XtChain* Find(std::string_view name) const;
  // A chain of that name must not exist.
  void Create(std::string name);
  void Delete(std::string_view name);

  // Nothing if a rule leads to a chain that does not exist.
  std::optional<XtImage> Build() const;

 private:
  explicit XtTable(Family family) : family_(family) {}

  Family family_;
  std::map<std::string, XtChain, Order> chains_ = {};
};

}  // namespace sluice::iptables
