// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <string>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "inject/yaml/node.h"
#include "inject/yaml/write.h"

namespace sluice::inject::yaml {
namespace {

TEST(YamlWrite, QuotesWhatIsNotBeyondDoubt) {
  EXPECT_EQ(WriteString("sluice-init"), "sluice-init");
  EXPECT_EQ(WriteString("--concurrency=2"), "--concurrency=2");
  EXPECT_EQ(WriteString("15090,15020"), "15090,15020");
  EXPECT_EQ(WriteString("15001"), "\"15001\"");
  EXPECT_EQ(WriteString("*"), "\"*\"");
  EXPECT_EQ(WriteString(""), "\"\"");
  EXPECT_EQ(WriteString("yes"), "\"yes\"");
  EXPECT_EQ(WriteString("1e3"), "\"1e3\"");
  EXPECT_EQ(WriteString("2001-12-14"), "\"2001-12-14\"");
  EXPECT_EQ(WriteString("-p"), "\"-p\"");
  EXPECT_EQ(WriteString("sluice:0.1.0"), "sluice:0.1.0");
  EXPECT_EQ(WriteString("1:30"), "\"1:30\"");
  EXPECT_EQ(WriteString("a:"), "\"a:\"");
  EXPECT_EQ(WriteString("{\"a\":1}"), "'{\"a\":1}'");
  EXPECT_EQ(WriteString("it's \"a\""), "\"it's \\\"a\\\"\"");
}

TEST(YamlWrite, ReadsBackWhatItWrites) {
  for (const std::string text :
       {"",     " ",    "a b", "#",  "a:b",  "a:", "a: ", "::",   "a:-b",     "1:2:3",
        "a #b", "a: b", "- a", "~",  "null", "\t", "\n",  "\x7f", "\xC3\xA4", "'",
        "\"",   "\\",   "%a",  "@a", "`",    "!a", "&a",  "0o7",  ".5",       "=",
        "<<",   "---",  "...", "?",  "? a",  "{",  "1,2"}) {
    const std::string document = "a: " + WriteString(text) + "\n";
    const Node root = Parse(document, "a.yaml").at(0).root;
    EXPECT_EQ(root.members.at(0).value.value, text) << document;
    EXPECT_TRUE(IsString(root.members.at(0).value)) << document;
  }
}

TEST(YamlWrite, WritesBlocksInTheLayoutOfTheirPlace) {
  const auto value =
      boost::json::parse(R"({"name":"a","args":["-p","1"],"env":[],"s":{"x":true,"w":{"z":2}}})");
  EXPECT_EQ(WriteItem(value, {.indent = 2, .sequence_indent = 0}),
            "  - name: a\n"
            "    args:\n"
            "    - \"-p\"\n"
            "    - \"1\"\n"
            "    env: []\n"
            "    s:\n"
            "      x: true\n"
            "      w:\n"
            "        z: 2\n");
  EXPECT_EQ(WriteMember("k", boost::json::parse(R"([{"a":1}])"),
                        {.line_end = "\r\n", .indent = 1, .sequence_indent = 2}),
            " k:\r\n   - a: 1\r\n");
  EXPECT_EQ(WriteFlow(value),
            R"({"name": "a", "args": ["-p", "1"], "env": [], "s": {"x": true, "w": {"z": 2}}})");
}

}  // namespace
}  // namespace sluice::inject::yaml
