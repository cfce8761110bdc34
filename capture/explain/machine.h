// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "capture/explain/bits.h"
#include "capture/explain/program.h"
#include "capture/explain/test.h"

// Internal to the walk: runs nf_tables programs (net/netfilter/nf_tables_core.c) on values of which
// only some bits may be known (bits.h).
namespace sluice::capture::explain {

// The result of a set lookup.
struct Found {
  std::vector<const SetItem*> possible;
  // `possible` has one entry, and it surely matches.
  bool surely = false;
};

class Machine {
 public:
  // All must outlive this. `conntrack_unsure`: conntrack may or may not have seen the packet.
  Machine(const ModelTable& table, const Traveller& packet, Host& host, bool conntrack_unsure)
      : table_(table), packet_(packet), host_(host), conntrack_unsure_(conntrack_unsure) {}

  // Whether the rule continues after `op`, which is neither an action nor a verdict map lookup.
  Meets Run(const Op& op);
  Found Find(const Lookup& lookup) const;
  Bits Get(const Slot& slot) const;

 private:
  Meets Do(const Load& load);
  Meets Do(const MaskBits& op);
  Meets Do(const SwapBytes& op);
  Meets Do(const Compare& op) const;
  Meets Do(const Within& op) const;
  Meets Do(const Lookup& op);
  Meets LoadMeta(const Load& load);
  Meets LoadCt(const Load& load);
  Meets LoadHeader(const Load& load, const Bits& header);
  Bits NetworkHeader() const;
  Bits TransportHeader() const;
  void Put(const Slot& slot, const Bits& bits);
  void PutNumber(const Slot& slot, std::uint32_t value, std::uint32_t known = 0xffffffff);

  const ModelTable& table_;
  const Traveller& packet_;
  Host& host_;
  bool conntrack_unsure_;
  std::array<std::uint8_t, kRegisterBytes> value_{};
  std::array<std::uint8_t, kRegisterBytes> known_{};
};

}  // namespace sluice::capture::explain
