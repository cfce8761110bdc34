// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "capture/explain/program.h"
#include "capture/explain/test.h"

// Internal to the walk: carries out the programs of nf_tables (net/netfilter/nf_tables_core.c), bit
// by bit where only some are known.
namespace sluice::capture::explain {

// What is known of some bytes: a bit of `known` is set where that of `value` is to be believed.
struct Bits {
  ByteString value;
  ByteString known;

  bool whole() const;
  // The number in host byte order, of up to 4 bytes.
  std::uint32_t AsHost32() const;
  std::uint32_t KnownAsHost32() const;
};

// What a packet finds in a set.
struct Found {
  std::vector<const SetItem*> possible;
  // `possible` is one, and it is that one.
  bool surely = false;
};

class Machine {
 public:
  // All of it outlives this. `conntrack_unsure`: whether conntrack has looked is not known here.
  Machine(const ModelTable& table, const Traveller& packet, Host& host, bool conntrack_unsure)
      : table_(table), packet_(packet), host_(host), conntrack_unsure_(conntrack_unsure) {}

  // Whether the rule goes on behind `op`, which neither does something nor asks a map of verdicts.
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
