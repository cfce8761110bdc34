// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "inject/yaml/node.h"

namespace sluice::inject::yaml {
namespace {

using testing::HasSubstr;

std::string_view TextOf(std::string_view text, const Node& node) {
  return text.substr(node.begin, node.end - node.begin);
}

// The error message of Parse(); "" if there is none.
std::string Complaint(std::string_view text) {
  try {
    Parse(text, "a.yaml");
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(YamlParse, SaysWhereValuesAre) {
  const std::string text = "a: 1\nb:\n  - x\n  - \"y\"  # why\n# end\n";
  const auto documents = Parse(text, "a.yaml");
  ASSERT_EQ(documents.size(), 1U);
  const Node& root = documents[0].root;
  ASSERT_EQ(root.members.size(), 2U);
  EXPECT_EQ(TextOf(text, root.members[0].value), "1");
  const Node& list = root.members[1].value;
  EXPECT_EQ(TextOf(text, list.items[1]), "\"y\"");
  EXPECT_EQ(list.items[1].line, 4U);
  EXPECT_EQ(list.column, 2U);
  // Not after the comments.
  EXPECT_EQ(LastByte(root), text.find("  # why"));
}

TEST(YamlParse, CountsBytesBehindMultiByteText) {
  const std::string text =
      "\xEF\xBB\xBF# \xC3\xA4\xE2\x82\xAC\r\nk\xC3\xBC: {\xF0\x9F\x98\x80: b}\r\n";
  const Node root = Parse(text, "a.yaml")[0].root;
  EXPECT_EQ(TextOf(text, root.members[0].key), "k\xC3\xBC");
  EXPECT_EQ(TextOf(text, root.members[0].value), "{\xF0\x9F\x98\x80: b}");
  EXPECT_EQ(TextOf(text, root.members[0].value.members[0].value), "b");
}

TEST(YamlParse, DividesAStreamWithoutAGap) {
  const std::string text = "# head\na: 1\n--- # second\n---\nb: 2\n...\n# tail\n";
  const auto documents = Parse(text, "a.yaml");
  ASSERT_EQ(documents.size(), 3U);
  EXPECT_EQ(documents[0].begin, 0U);
  EXPECT_EQ(text.substr(documents[1].begin, documents[1].end - documents[1].begin),
            "--- # second\n");
  EXPECT_EQ(documents[2].end, text.size());
  EXPECT_TRUE(IsNull(documents[1].root));
}

TEST(YamlParse, TakesEmptyStreams) {
  EXPECT_TRUE(Parse("", "a.yaml").empty());
  EXPECT_TRUE(Parse("# nothing\n", "a.yaml").empty());
  EXPECT_EQ(Parse("---\n...\n", "a.yaml").size(), 1U);
}

TEST(YamlParse, EndsABlockScalarBehindItsBlankLines) {
  for (const char* const sign : {"|", "|+", ">", "|-"}) {
    const std::string text = std::string("a:\n  b: ") + sign + "\n    one\n    two\n\n# c\nd: 1\n";
    const Node root = Parse(text, "a.yaml")[0].root;
    EXPECT_TRUE(LastLeaf(root.members[0].value).IsBlockScalar());
    EXPECT_EQ(LastByte(root.members[0].value), text.find("# c")) << sign;
  }
}

TEST(YamlParse, NamesTheLineOfWhatItCannotRead) {
  EXPECT_THAT(Complaint("a: 1\nb: [1\n"), HasSubstr("a.yaml:3"));
  EXPECT_THAT(Complaint("a: 1\n\tb: 1\n"), HasSubstr("a.yaml:2"));
  EXPECT_THAT(Complaint("a: 1\nb: \xFF\n"), HasSubstr("a.yaml:2"));
  EXPECT_THAT(Complaint(std::string_view("a: \0b", 5)), HasSubstr("NUL"));
  EXPECT_THAT(Complaint("\xFF\xFE"
                        "a"),
              HasSubstr("UTF-16"));
  EXPECT_THAT(Complaint("a: *nobody\n"), testing::IsEmpty());
}

TEST(YamlParse, SaysThatATemplateIsNotRendered) {
  EXPECT_THAT(Complaint("a: {{ .Values.a }}\n{{- if .b }}\nb: 1\n"), HasSubstr("helm template"));
  EXPECT_THAT(Complaint("a: {{b}}\n"), HasSubstr("helm template"));
}

TEST(YamlParse, BoundsTheDepth) {
  EXPECT_THAT(Complaint(std::string(100'000, '[')), HasSubstr("nested"));
  EXPECT_THAT(Complaint(std::string(100'000, '{')), HasSubstr("nested"));
  EXPECT_EQ(Complaint(std::string(50, '[') + std::string(50, ']')), "");
}

TEST(YamlParse, TakesTenMegabytes) {
  std::string text = "a:\n";
  const std::string line = "  - {name: \xC3\xA4, value: \"" + std::string(500, 'x') + "\"}\n";
  while (text.size() < 10'000'000) text += line;
  EXPECT_EQ(LastByte(Parse(text, "a.yaml")[0].root), text.size() - 1);
}

}  // namespace
}  // namespace sluice::inject::yaml
