// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "capture/backend.h"
#include "capture/settings/init_config.h"
#include "capture/transaction.h"
#include "netns/route_socket.h"
#include "verify/check.h"

namespace sluice::verify {

// Tries, in this network namespace, every path that `config` captures or exempts, and reports each
// result. Changes no rule; the link, addresses and routes that it needs are always removed before
// it returns. Without CAP_NET_ADMIN and CAP_NET_RAW there is no link: it only tries what a process
// of its uid can connect to from inside, and the other paths are kNotChecked. Throws sluice::Error
// when it cannot run at all: kFailed when a port of the proxy is in use, kKernelFeature without
// veth.
std::vector<Check> RunChecks(const capture::InitConfig& config, netns::RouteSocket& socket,
                             capture::Backend& backend);

// The validation as the last step of a transaction: if a check fails it throws kInvalid, and the
// transaction puts everything back. `checks` gets the results in any case.
class ValidationStep : public capture::Step {
 public:
  ValidationStep(const capture::InitConfig& config, netns::RouteSocket& socket,
                 capture::Backend& backend, std::vector<Check>& checks)
      : config_(config), socket_(socket), backend_(backend), checks_(checks) {}

  std::string Name() const override { return "validation"; }
  // Always runs.
  bool Differs() override { return true; }
  std::vector<std::string> Have() override { return {}; }
  std::vector<std::string> Want() override { return {}; }
  void Apply() override;
  void Undo() override {}
  bool Changed() const override { return false; }
  std::string Summary() const override { return verify::Summary(checks_); }

 private:
  const capture::InitConfig& config_;
  netns::RouteSocket& socket_;
  capture::Backend& backend_;
  std::vector<Check>& checks_;
};

// Stand-alone, under the lock of the namespace, so that no other Sluice process changes rules
// meanwhile. The lock of iptables is given back: probes may wait long, and write no rules.
void Validate(const capture::InitConfig& config, capture::Lock& lock, netns::RouteSocket& socket,
              capture::Backend& backend, std::vector<Check>& checks);

}  // namespace sluice::verify
