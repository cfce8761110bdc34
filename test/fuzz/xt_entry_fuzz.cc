// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The decoder of kernel entries. The first byte is the family, the second the length of the
// target's name, which follows; the rest is the entry.
#include <string>
#include <vector>

#include "capture/rule_text.h"
#include "iptables/layout/xt_entry.h"
#include "test/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
  using fuzz::Require;
  if (size < 2) return 0;
  const Family family = (data[0] & 1) == 0 ? Family::kIpv4 : Family::kIpv6;
  const std::size_t name_size = data[1] % 32U;
  if (size < 2 + name_size) return 0;
  const std::string name(reinterpret_cast<const char*>(data) + 2, name_size);
  // A separate copy, so that reads beyond its end are detected.
  const std::vector<std::byte> entry(reinterpret_cast<const std::byte*>(data) + 2 + name_size,
                                     reinterpret_cast<const std::byte*>(data) + size);
  const auto rule = iptables::DecodeEntry(entry, name, family);
  const auto foreign = iptables::DecodeForeignEntry(entry, name, family);
  if (!rule) return 0;
  Require(foreign.conditions_known && foreign.target_known, "what is ours is known in full");
  Require(foreign.rule == *rule, "a rule is the same whoever wrote it");
  Require(!capture::ToText(*rule).empty(), "a rule has a text");
  // The only thing that cannot be encoded again is a chain name that no kernel would have.
  if (name.empty() || name.size() > 28 || name.find('\0') != std::string::npos) return 0;
  const auto again = iptables::EncodeEntry(*rule, family);
  Require(iptables::DecodeEntry(again, name, family) == rule, "a rule is read as written");
  return 0;
}
