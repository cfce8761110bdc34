// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "nftables/message.h"
#include "nftables/state.h"

namespace sluice::nftables {

// The kernel's side: a netlink socket to nf_tables of the network namespace of the calling thread.
// Functions throw sluice::Error: kPrivilege names the capability, kKernelFeature the module.
class Kernel {
 public:
  Kernel();

  // All that is in our tables, and the names of others'. Makes nothing.
  State Read();

  // Makes what `before` (as read) is for our tables into `wanted`, in one batch for both families:
  // all of it, or nothing. Where the batch does not fit into the socket's buffer, sets are made
  // before, in several, and the last one makes the rules that look into them. Chains that are the
  // same are not written, unless `anew`. False when somebody has changed the rule set since
  // `before` was read; nothing is written then.
  bool Write(const State& before, const State& wanted, bool anew);

  // "ip nat, chain ISTIO_OUTPUT": chains named as ours are, in tables of others.
  std::vector<std::string> ChainsLikeOurs();

  // Of the rule set of the namespace: each change by anybody counts it up.
  std::uint32_t Generation();

  // Calls `visit` with the family and the attributes of each message of the answer to a dump, as
  // NFT_MSG_GETRULE; `fill` writes the attributes of the request, and may be empty. False when the
  // dump was interrupted by a change.
  bool DumpAll(int message, std::uint8_t family, const std::function<void(MessageWriter&)>& fill,
               const std::function<void(std::uint8_t, Bytes)>& visit);

 private:
  // What was being done by the message of a number, for errors.
  struct Doing {
    std::string what;
    std::string needs;  // the kernel's modules; may be empty
  };
  class Batch;

  template <typename Visit>
  bool Dump(MessageWriter& request, Visit visit);
  bool ReadFamily(Family family, FamilyState& out);
  bool ReadSet(Family family, InSet& set);
  void Send(const std::string& bytes);
  bool ReadSets(Family family, FamilyState& out);
  // Makes the socket's buffer large enough for a batch, as far as that is allowed.
  bool MakeRoom(std::size_t bytes);
  void SendBatch(const std::string& bytes);
  bool Commit(Batch& batch);
  bool WriteInParts(const State& before, const State& wanted, bool anew);
  std::size_t Receive();

  UniqueFd socket_;
  std::uint32_t sequence_ = 0;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace sluice::nftables
