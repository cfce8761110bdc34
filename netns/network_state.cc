// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/network_state.h"

#include "base/error.h"

namespace sluice::netns {

const std::vector<netns::AddressEntry>& NetworkState::Addresses() {
  if (!addresses_) addresses_ = socket_.Addresses();
  return *addresses_;
}

const std::vector<netns::PolicyRule>& NetworkState::Rules() {
  if (rules_) return *rules_;
  try {
    rules_ = socket_.Rules();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kKernelFeature) throw;
    rules_.emplace();
  }
  return *rules_;
}

void NetworkState::Forget() {
  addresses_.reset();
  rules_.reset();
}

}  // namespace sluice::netns
