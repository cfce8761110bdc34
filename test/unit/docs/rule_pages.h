// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string_view>
#include <vector>

namespace sluice::docs {

// A page of docs/rules: its subject, and the meaning of its named configurations.
struct RulePage {
  struct Case {
    std::string_view name;  // of testing_support::CaptureCases()
    std::string_view meaning;
  };

  std::string_view file;  // without ".md"
  std::string_view title;
  std::vector<Case> cases;
};

const std::vector<RulePage>& RulePages();

}  // namespace sluice::docs
