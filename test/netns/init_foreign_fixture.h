// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {

// A pod with rules that are not Sluice's, of x_tables or nf_tables.
class ForeignRulesTest : public testing::Test {
 protected:
  using Words = std::vector<std::string>;

  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  static Words With(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  static Words Config(const Words& more) {
    return With({"-u", "1337", "-i", "*", "-b", "*", "--log-format", "json"}, more);
  }

  // The warnings about foreign rules.
  static Words Warnings(const CommandResult& result) {
    Words out;
    const boost::json::value report = boost::json::parse(result.err);
    for (const boost::json::value& warning : report.at("warnings").as_array()) {
      const std::string text(warning.as_string());
      if (text.find("not Sluice's") != std::string::npos) out.push_back(text);
    }
    return out;
  }

  PodNetwork network_;
};

}  // namespace sluice::testing_support
