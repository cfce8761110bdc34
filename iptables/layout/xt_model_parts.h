// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

// Internal to xt_model: the parts of a rule, each decoded by itself.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/ip_address.h"
#include "base/port_range.h"
#include "capture/explain/model.h"

namespace sluice::iptables {

// A rule, and its text in iptables' words, while it is decoded.
struct PartialRule {
  void Add(capture::explain::Test test, std::string_view words) {
    rule.tests.push_back(std::move(test));
    text += ' ';
    text += words;
  }
  void AddUnknown(const std::string& words) {
    Add(capture::explain::UnknownTest{words}, words + " ...");
  }

  capture::explain::ModelRule rule;
  std::string text;  // each word after a space
};

// "! " for what is negated.
inline std::string Negation(bool negated) { return negated ? "! " : ""; }
// "80", or "8000:8999".
std::string PortText(const PortRange& range);

// Adds what the match tests to `out`. False if it is not known; `out` may have some of it then.
bool AddMatch(const std::string& name, int revision, std::span<const std::byte> info,
              PartialRule& out);

// The same for what a target other than a verdict or a jump does.
bool AddTarget(const std::string& name, int revision, std::span<const std::byte> info,
               Family family, PartialRule& out);

}  // namespace sluice::iptables
