// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <string>

#include <gtest/gtest.h>

#include "inject/yaml/node.h"

namespace sluice::inject::yaml {
namespace {

Node Root(const std::string& text) { return Parse(text, "a.yaml").at(0).root; }

TEST(YamlValue, ResolvesAsYaml11) {
  for (const char* const yes : {"yes", "y", "on", "True", "!!bool yes"}) {
    EXPECT_EQ(AsBool(Root(yes)), Truth::kYes) << yes;
  }
  for (const char* const no : {"no", "n", "OFF", "false"}) {
    EXPECT_EQ(AsBool(Root(no)), Truth::kNo) << no;
  }
  for (const char* const neither : {"\"yes\"", "'on'", "yEs", "1", "!!str yes"}) {
    EXPECT_EQ(AsBool(Root(neither)), Truth::kNeither) << neither;
  }
  for (const char* const null : {"~", "null", "---\n", "!!null ''"}) {
    EXPECT_TRUE(IsNull(Root(null))) << null;
  }
  for (const char* const text : {"abc", "\"1\"", "'true'", "12ab", "2001-12-14", "1.2.3", "!!str 1",
                                 "12:30", "1e", "|\n  1\n"}) {
    EXPECT_TRUE(IsString(Root(text))) << text;
  }
  for (const char* const other :
       {"1", "0755", "0x1f", "1_000", "1.5e3", ".5", "-.inf", "yes", "~", "9007199254740993123"}) {
    EXPECT_FALSE(IsString(Root(other))) << other;
  }
}

TEST(YamlValue, TakesTheLastOfEqualKeys) {
  const Node root = Root("a: 1\na: 2\n");
  EXPECT_EQ(FindMember(root, "a")->value.value, "2");
  EXPECT_EQ(FindMember(root, "b"), nullptr);
}

TEST(YamlValue, LooksThroughAliasesAndMerges) {
  const Node root = Root(
      "base: &base {x: 1, y: 2}\n"
      "more: &more {<<: *base, y: 3}\n"
      "use: {<<: [*more, {z: 4}], w: *base}\n");
  const Reader reader(root);
  const Node* use = reader.Get(&root, "use");
  EXPECT_EQ(reader.Get(use, "x")->value, "1");
  EXPECT_EQ(reader.Get(use, "y")->value, "3");
  EXPECT_EQ(reader.Get(use, "z")->value, "4");
  EXPECT_EQ(reader.Get(reader.Get(use, "w"), "y")->value, "2");
  EXPECT_EQ(reader.Get(use, "v"), nullptr);
  EXPECT_TRUE(reader.IsShared(*reader.Get(&root, "base")));
  EXPECT_FALSE(reader.IsShared(*use));
}

TEST(YamlValue, EndsManyMerges) {
  std::string text = "a0: &a0 {x: 1}\n";
  for (int i = 1; i < 60; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " {<<: [" + last + ", " + last +
            "]}\n";
  }
  const Node root = Root(text);
  const Reader reader(root);
  EXPECT_EQ(reader.Get(reader.Get(&root, "a59"), "nothing"), nullptr);
}

TEST(YamlValue, ComparesValuesNotTexts) {
  EXPECT_TRUE(SameValue(Root("a: [b, 'c']"), Root("{\"a\":\n  [\"b\", c]}")));
  EXPECT_FALSE(SameValue(Root("a: yes"), Root("a: \"yes\"")));
  EXPECT_FALSE(SameValue(Root("a: 1"), Root("a: 2")));
  EXPECT_FALSE(SameValue(Root("a: 1"), Root("a: 1\nb: 2")));
}

}  // namespace
}  // namespace sluice::inject::yaml
