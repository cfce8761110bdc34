// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/config_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::capture {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string Value(const std::string& text, const std::string& key) {
  const auto settings = ParseConfig(text, "pod.json");
  const auto found = settings.find(key);
  return found == settings.end() ? "missing" : found->second.value;
}

std::string FileRefusal(const std::string& text) {
  try {
    ParseConfig(text, "pod.json");
    return "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
}

TEST(ConfigFile, TakesWhatAFlagTakes) {
  EXPECT_EQ(Value(R"({"envoy-port": "15001"})", "envoy-port"), "15001");
  EXPECT_EQ(Value(R"({"envoy-port": 15001})", "envoy-port"), "15001");
  EXPECT_EQ(Value(R"({"proxy-uid": -1})", "proxy-uid"), "-1");
  EXPECT_EQ(Value(R"({"dry-run": true})", "dry-run"), "true");
  EXPECT_EQ(Value(R"({"dry-run": false})", "dry-run"), "false");
  EXPECT_EQ(Value(R"({"istio-inbound-ports": [80, "8000-8999"]})", "istio-inbound-ports"),
            "80,8000-8999");
  EXPECT_EQ(Value(R"({"istio-service-exclude-cidr": []})", "istio-service-exclude-cidr"), "");
  EXPECT_EQ(Value("{}", "envoy-port"), "missing");
}

TEST(ConfigFile, SaysWhereAValueStands) {
  const auto settings = ParseConfig(R"({"wait": 3})", "pod.json");
  EXPECT_EQ(settings.at("wait").origin, "\"wait\" in pod.json:1:2");
  EXPECT_FALSE(settings.at("wait").is_default());
}

TEST(ConfigFile, RefusesWhatItDoesNotUnderstand) {
  const std::string start = "cannot read the configuration file (pod.json): ";
  // The place of the first key.
  const std::string first = "cannot read the configuration file (pod.json:1:2): ";
  EXPECT_EQ(FileRefusal("[]"), start + "expected one JSON object with flag names as keys");
  EXPECT_EQ(FileRefusal(R"({"envoyport": 1})"),
            first + "there is no flag \"envoyport\"; did you mean envoy-port?");
  EXPECT_EQ(FileRefusal(R"({"config": "other.json"})"),
            first + "a configuration file cannot name another one");
  const std::string expected =
      "; expected a string, a whole number, true or false, or a list of strings and numbers";
  EXPECT_EQ(FileRefusal(R"({"wait": null})"), first + "the value of \"wait\" is null" + expected);
  EXPECT_EQ(FileRefusal(R"({"wait": 1.5})"), first + "the value of \"wait\" is 1.5E0" + expected);
  EXPECT_EQ(FileRefusal(R"({"wait": {}})"), first + "the value of \"wait\" is {}" + expected);
  EXPECT_EQ(FileRefusal(R"({"proxy-uid": [[1]]})"),
            first + "the value of \"proxy-uid\" is [1]" + expected);
  EXPECT_EQ(FileRefusal(R"({"proxy-uid": [true]})"),
            first + "the value of \"proxy-uid\" is true" + expected);
  for (const char* broken : {"", "{", "{\"wait\": 1", "{\"wait\": 1}x", "{\"wait\": 1}{}",
                             "{wait: 1}", "{\"wait\": 01}", "{\"wait\": 1,}", "// {}"}) {
    EXPECT_THAT(FileRefusal(broken),
                AllOf(StartsWith("cannot read the configuration file (pod.json:1:"),
                      HasSubstr("): not JSON: ")))
        << broken;
  }
}

// With a repeated key nobody can tell by looking which one counts.
TEST(ConfigFile, RefusesAKeyGivenTwice) {
  EXPECT_THAT(FileRefusal(R"({"wait": 1, "wait": 2})"), HasSubstr("\"wait\" is there twice"));
  EXPECT_THAT(FileRefusal(R"({"wait": 1, "ipv6": "a\\\"", "w\u0061it": 2})"),
              HasSubstr("\"wait\" is there twice"));
  EXPECT_EQ(FileRefusal(R"({"wait": "a:b", "ipv6": "wait"})"), "accepted");
}

TEST(ConfigFile, NamesLineAndColumn) {
  const std::string start = "cannot read the configuration file (pod.json:";
  EXPECT_EQ(FileRefusal("{\n  \"wait\": 3,\n  \"ipv6\": tru\n}"),
            start + "3:11): not JSON: syntax error");
  EXPECT_EQ(FileRefusal("{\n  \"wait\": 3,\n"), start + "3:1): not JSON: incomplete JSON");
  EXPECT_EQ(FileRefusal("{\"wait\": 3}\n}"), start + "2:1): not JSON: extra data");
  EXPECT_EQ(FileRefusal("{\n\t\"ipv6\": [\"{:\"],\n\t\"ipv4\": 1}"),
            start + "3:2): there is no flag \"ipv4\"; did you mean ipv6?");
  EXPECT_EQ(FileRefusal("{\"ipv6\": \"ä\", \"ipv6\": 1}"),
            start + "1:15): \"ipv6\" is there twice");
}

TEST(ConfigFile, RefusesToNestWithoutEnd) {
  EXPECT_THAT(FileRefusal("{\"wait\": " + std::string(100'000, '[')), HasSubstr("not JSON"));
}

TEST(ConfigFile, RefusesFilesThatAreNoPageOfText) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("sluice-config-" + std::to_string(getpid()) + ".json");
  std::ofstream(path) << "{}" << std::string(5 << 20, ' ');
  try {
    ReadConfigFile(path);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("larger than 4 MiB"));
  }
  std::filesystem::remove(path);
  EXPECT_THROW(ReadConfigFile(path), Error);
  EXPECT_THROW(ReadConfigFile("/dev/zero"), Error);
  // Nobody will ever write to it: opening it must not wait.
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_THROW(ReadConfigFile(path), Error);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace sluice::capture
