// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-cni/conflist.h"

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cmd/sluice-cni/options.h"
#include "test/support/error_of.h"

namespace sluice::cni {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

constexpr const char* kList =
    R"({"zebra":[1,{"a":null}],"cniVersion":"0.4.0","name":"pods","plugins":[{"type":"bridge","x":1.5}]})";
constexpr const char* kOurs =
    R"({"type":"sluice-cni","capabilities":{"io.kubernetes.cri.pod-annotations":true,"dns":true}})";

TEST(CniConflist, TheLastOfAListAndOnce) {
  const auto with = WithPlugin(kList);
  ASSERT_TRUE(with);
  // Keeps the order and unknown members.
  std::string expected = kList;
  expected.insert(expected.size() - 2, std::string(",") + kOurs);
  EXPECT_EQ(json::serialize(json::parse(*with)), json::serialize(json::parse(expected)));
  EXPECT_FALSE(WithPlugin(*with));
  const auto without = WithoutPlugin(*with);
  ASSERT_TRUE(without);
  EXPECT_EQ(json::serialize(json::parse(*without)), json::serialize(json::parse(kList)));
  EXPECT_FALSE(WithoutPlugin(*without));
}

// Another plugin was added after it, or it was given settings.
TEST(CniConflist, ItsSettingsStayWhenItMoves) {
  const auto with = WithPlugin(
      R"({"plugins":[{"type":"a"},{"type":"sluice-cni","backend":"nftables"},{"type":"b"}]})");
  ASSERT_TRUE(with);
  EXPECT_EQ(
      json::serialize(json::parse(*with)),
      R"({"plugins":[{"type":"a"},{"type":"b"},{"type":"sluice-cni","backend":"nftables"}]})");
}

TEST(CniConflist, ASinglePluginBecomesAList) {
  const auto with = WithPlugin(R"({"cniVersion":"0.3.1","name":"n","type":"ptp"})");
  ASSERT_TRUE(with);
  EXPECT_EQ(json::serialize(json::parse(*with)),
            std::string(R"({"cniVersion":"0.3.1","name":"n","plugins":[)"
                        R"({"cniVersion":"0.3.1","name":"n","type":"ptp"},)") +
                kOurs + "]}");
}

TEST(CniConflist, WhatIsNone) {
  for (const char* const text : {"", "{", "[]", "{}", R"({"plugins": {}})", R"({"plugins": []})"}) {
    EXPECT_FALSE(IsConfiguration(text, true)) << text;
  }
  EXPECT_FALSE(IsConfiguration(R"({"name": "a"})", false));
  EXPECT_TRUE(IsConfiguration(kList, true));
}

TEST(CniOptions, WhatIsTyped) {
  const Options options =
      ParseOptions({"install", "--conf-dir=/a", "--bin-dir", "/b", "--remove-on-exit"});
  EXPECT_EQ(options.verb, Verb::kInstall);
  EXPECT_EQ(options.install.conf_dir, "/a");
  EXPECT_EQ(options.install.bin_dir, "/b");
  EXPECT_TRUE(options.install.remove_on_exit);
  EXPECT_EQ(ParseOptions({}).verb, Verb::kPlugin);
  const auto said = [](const std::vector<std::string>& words) {
    const Error error = testing_support::ErrorOf([&] { ParseOptions(words); });
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return std::string(error.what());
  };
  EXPECT_THAT(said({"instal"}), HasSubstr("did you mean install?"));
  EXPECT_THAT(said({"install", "--conf-dri=/a"}), HasSubstr("did you mean --conf-dir?"));
  EXPECT_THAT(said({"install", "--bin-dir"}), HasSubstr("needs a value"));
  EXPECT_THAT(said({"install", "uninstall"}), HasSubstr("not understood"));
  EXPECT_THAT(said({"uninstall", "--once"}), HasSubstr("for install"));
  EXPECT_THAT(said({"--once"}), HasSubstr("for install and uninstall"));
}

}  // namespace
}  // namespace sluice::cni
