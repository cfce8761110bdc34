// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nftables/message.h"
#include "nftables/netlink_socket.h"
#include "nftables/state.h"

namespace sluice::nftables {

// The rules of nf_tables in the network namespace of the calling thread. Functions throw
// sluice::Error as those of NetlinkSocket. Not thread-safe.
class Kernel {
 public:
  // The contents of Sluice's tables, and the names of other tables. Creates nothing.
  State Read();

  // Changes Sluice's tables from `before` (as read) to `wanted`, in one batch for both families:
  // all of it, or nothing. If the batch does not fit into the socket's buffer, earlier batches
  // create the sets, and the last one creates the rules that use them. Unchanged chains are not
  // written, unless `anew`. False, with nothing written, when the rule set has changed since
  // `before` was read.
  bool Write(const State& before, const State& wanted, bool anew);

  // "ip nat, chain ISTIO_OUTPUT": chains with Sluice's names in other tables.
  std::vector<std::string> ChainsLikeOurs();

  // Of the namespace's rule set: every change by anybody increments it.
  std::uint32_t Generation();

  // Calls `visit` with the family and attributes of each message in the answer to a dump request,
  // such as NFT_MSG_GETRULE; `fill` writes the request's attributes, and may be empty. False when a
  // change interrupted the dump.
  bool DumpAll(int message, std::uint8_t family, const NetlinkSocket::Fill& fill,
               const std::function<void(std::uint8_t, Bytes)>& visit);

 private:
  bool ReadFamily(Family family, FamilyState& out);
  bool ReadSet(Family family, InSet& set);
  bool ReadSets(Family family, FamilyState& out);
  bool WriteInParts(const State& before, const State& wanted, bool anew);

  NetlinkSocket socket_;
};

}  // namespace sluice::nftables
