// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/cidr.h"
#include "nftables/codec.h"
#include "nftables/intervals.h"
#include "nftables/message.h"
#include "nftables/state.h"

namespace sluice::nftables {

// The messages of one transaction. Pure. The states that it is made from must outlive it.
class Batch {
 public:
  // What the message with a given number does, for errors.
  struct Doing {
    std::string what;
    std::string needs;  // the kernel's modules; may be empty
  };
  // A set that other batches make before this one.
  struct StagedSet {
    Family family;
    std::string name;
    std::vector<Cidr> ranges;
  };

  // `generation`: the rule set's, for which this is made; 0 for any. With `stage`, the caller makes
  // the sets, whose names begin with it.
  explicit Batch(std::uint32_t generation, std::string stage = {});

  // Adds what turns `have` into `want`. Unchanged chains are not written, unless `anew`.
  void Add(Family family, const FamilyState& have, const FamilyState& want, bool anew);

  void MakeTable(Family family);
  void RemoveTable(Family family);
  void RemoveSet(Family family, std::string_view name);
  // Makes a set, whose elements are added later.
  void MakeSet(Family family, const SetReference& set);
  // Adds elements from index `from` on: as many as a message holds, and only whole intervals.
  // Returns the index of the first that is left.
  std::size_t FillSet(Family family, const SetReference& set, const std::vector<Element>& elements,
                      std::size_t from);

  const std::vector<StagedSet>& staged() const { return staged_; }
  bool empty() const { return begun_.empty(); }
  Doing doing(std::uint32_t sequence) const;
  // The sequence number of the message whose acknowledgement means success.
  std::uint32_t last() const { return static_cast<std::uint32_t>(begun_.size()); }
  const std::string& bytes() const { return out_.bytes(); }
  // Adds the end, and returns all bytes.
  const std::string& Finish();

 private:
  // A message as Doing tells it. The texts are made when something fails.
  struct Begun {
    const char* what;
    std::string_view name;  // after it; may be empty
    Family family;
    const char* needs = "";
    const Program* program = nullptr;  // of the rule that it adds, which may need more
  };

  void Begin(int message, int flags, const Begun& begun);
  void MakeChain(const ChainState& chain);
  // Sets come before the rule that uses them.
  void AddRule(const ChainState& chain, const RuleState& rule);
  SetReference Prepare(const InSet& set);

  std::string stage_;
  std::vector<StagedSet> staged_;
  MessageWriter out_;
  Family family_ = Family::kIpv4;
  std::uint32_t sets_ = 0;
  std::vector<Begun> begun_;
};

}  // namespace sluice::nftables
