// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/in_force.h"

// Internal to the judge: its checks. Each adds at least one finding. Pure.
namespace sluice::doctor {

using Findings = std::vector<Finding>;

// checks_kernel.cc
void CheckCapabilities(const Facts& facts, const InForce& rules, Findings& out);
void CheckModules(const Facts& facts, const InForce& rules, Findings& out);
void CheckLock(const Facts& facts, Findings& out);
void CheckConntrack(const Facts& facts, Findings& out);

// checks_rules.cc
void CheckRules(const Facts& facts, const InForce& rules, Findings& out);
void CheckBackendsInUse(const Facts& facts, const InForce& rules, Findings& out);
void CheckForeignRules(const Facts& facts, Findings& out);
void CheckResolvers(const Facts& facts, const InForce& rules, Findings& out);

// checks_network.cc
void CheckAddresses(const Facts& facts, const InForce& rules, Findings& out);
void CheckIpv6OnLo(const Facts& facts, const InForce& rules, Findings& out);
void CheckRpFilter(const Facts& facts, const InForce& rules, Findings& out);
void CheckPolicyRouting(const Facts& facts, const InForce& rules, Findings& out);

// checks_proxy.cc
void CheckListeners(const Facts& facts, const InForce& rules, Findings& out);
void CheckApplicationUid(const Facts& facts, const InForce& rules, Findings& out);
void CheckDescriptors(const Facts& facts, const InForce& rules, Findings& out);
void CheckPipes(const Facts& facts, Findings& out);

// A check that could not be made.
Finding NotChecked(std::string name, std::string why, std::string remedy = {});

// "a, b and c"
std::string Listed(const std::vector<std::string>& words);

// Whether a new connection to the outside world by this user and group is captured. For the proxy's
// own connections that would be a loop.
bool IsCapturedOutbound(const InForce& rules, Family family, std::uint32_t uid, std::uint32_t gid);

}  // namespace sluice::doctor
