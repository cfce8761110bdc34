// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "nftables/message.h"
#include "nftables/state.h"

namespace sluice::nftables {

class Batch;

// A netlink socket to nf_tables in the network namespace of the calling thread. Functions throw
// sluice::Error: kPrivilege names the capability, kKernelFeature the module.
class Kernel {
 public:
  Kernel();

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
  bool DumpAll(int message, std::uint8_t family, const std::function<void(MessageWriter&)>& fill,
               const std::function<void(std::uint8_t, Bytes)>& visit);

 private:
  template <typename Visit>
  bool Dump(MessageWriter& request, Visit visit);
  bool ReadFamily(Family family, FamilyState& out);
  bool ReadSet(Family family, InSet& set);
  void Send(const std::string& bytes);
  bool ReadSets(Family family, FamilyState& out);
  // Makes the socket's buffer large enough for a batch, as far as permitted.
  bool MakeRoom(std::size_t bytes);
  void SendBatch(const std::string& bytes);
  bool Commit(Batch& batch);
  bool WriteInParts(const State& before, const State& wanted, bool anew);
  std::size_t Receive();

  UniqueFd socket_;
  std::uint32_t sequence_ = 0;
  // Not initialised: every page that is touched costs a page fault, and most answers are short.
  std::unique_ptr<std::uint8_t[]> buffer_;
};

}  // namespace sluice::nftables
