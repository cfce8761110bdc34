// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>
#include <vector>

#include "apply/backends.h"
#include "capture/explain/model.h"
#include "capture/foreign.h"
#include "netns/network_state.h"

namespace sluice::init {

// What others have in nf_tables, in the namespace of the calling thread. Read when it is asked for
// the first time, and kept.
class OthersInNfTables : public capture::OtherRules {
 public:
  // Both must outlive this.
  OthersInNfTables(apply::Backends& backends, netns::NetworkState& network)
      : backends_(backends), network_(network) {}

  bool Any() override;
  std::vector<capture::Obstruction> DecideFirst(const capture::FamilyRules& wanted,
                                                const capture::Backend& backend) override;

 private:
  apply::Backends& backends_;
  netns::NetworkState& network_;
  std::optional<capture::explain::Model> others_;
};

}  // namespace sluice::init
