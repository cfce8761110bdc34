// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// A table of x_tables in the kernel's form. The first byte is the family, the second has a bit for
// each hook whose chain is there, the five that follow are the numbers of their first entries.
#include <cstring>
#include <vector>

#include "iptables/layout/xt_layout.h"
#include "iptables/layout/xt_table.h"
#include "test/fuzz/fuzz.h"

namespace {

using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program

// The offsets of the entries, as far as they are sound.
template <typename Entry>
std::vector<unsigned int> Offsets(const std::vector<std::byte>& entries) {
  std::vector<unsigned int> offsets;
  for (std::size_t at = 0; at + sizeof(Entry) <= entries.size();) {
    offsets.push_back(static_cast<unsigned int>(at));
    Entry entry;
    std::memcpy(&entry, entries.data() + at, sizeof(entry));
    if (entry.next_offset < sizeof(Entry)) break;
    at += entry.next_offset;
  }
  return offsets;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kHeader = 2 + iptables::kXtHooks;
  if (size < kHeader) return 0;
  const Family family = (data[0] & 1) == 0 ? Family::kIpv4 : Family::kIpv6;
  iptables::XtBlob blob{.valid_hooks = data[1] & 0x1fU};
  blob.entries.assign(reinterpret_cast<const std::byte*>(data) + kHeader,
                      reinterpret_cast<const std::byte*>(data) + size);
  const std::vector<unsigned int> offsets = family == Family::kIpv4
                                                ? Offsets<ipt_entry>(blob.entries)
                                                : Offsets<ip6t_entry>(blob.entries);
  blob.entry_count = static_cast<unsigned int>(offsets.size());
  for (std::size_t hook = 0; hook < iptables::kXtHooks && !offsets.empty(); ++hook) {
    blob.hook_entry[hook] = offsets[data[2 + hook] % offsets.size()];
  }
  const auto table = iptables::XtTable::Parse(blob, family);
  if (!table) return 0;
  // The first image is in the order in which chains are kept, and ends them as iptables does.
  const auto image = table->Build();
  fuzz::Require(image.has_value(), "what was read can be written");
  fuzz::Require(image->counters.size() == image->blob.entry_count, "each entry has its counters");
  const auto again = iptables::XtTable::Parse(image->blob, family);
  fuzz::Require(again.has_value(), "what was written can be read");
  const auto second = again->Build();
  fuzz::Require(second.has_value() && SameRules(image->blob, second->blob, family),
                "a table comes back as it was");
  return 0;
}
