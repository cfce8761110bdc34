// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The command line, the environment and the configuration file, and which of them counts.

#include "capture/settings/settings.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "capture/settings/effective.h"
#include "capture/settings/option_table.h"

namespace sluice::capture {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Variables = std::map<std::string, std::string>;

Settings Parse(const std::vector<std::string>& arguments, const Variables& variables = {}) {
  return ParseCommandLine(arguments, [&variables](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string Refusal(const std::vector<std::string>& arguments, const Variables& variables = {}) {
  try {
    Parse(arguments, variables);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "accepted";
}

boost::json::object Described(const std::vector<std::string>& arguments,
                              const Variables& variables) {
  const Settings settings = Parse(arguments, variables);
  return boost::json::parse(DescribeSettings(settings, ToInitConfig(settings))).as_object();
}

// A configuration file that the destructor removes.
class File {
 public:
  explicit File(const std::string& text)
      : path_(std::filesystem::temp_directory_path() /
              ("sluice-settings-" + std::to_string(getpid()) + ".json")) {
    std::ofstream(path_) << text;
  }
  ~File() { std::filesystem::remove(path_); }
  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

bool IsRefused(const OptionSpec& option) { return *option.refused != '\0'; }

std::vector<OptionSpec> OptionsOfKind(OptionKind kind) {
  std::vector<OptionSpec> out;
  for (const OptionSpec& option : Options()) {
    // --config would be read as a file.
    if (option.kind == kind && !IsRefused(option) && option.name != "config") {
      out.push_back(option);
    }
  }
  return out;
}

TEST(Settings, HaveTheDefaultsOfTheReferenceTool) {
  const Settings settings = Parse({});
  EXPECT_EQ(settings.command, Command::kApply);
  const std::map<std::string, std::string> expected = {
      {"envoy-port", "15001"},
      {"inbound-capture-port", "15006"},
      {"inbound-tunnel-port", "15008"},
      {"istio-inbound-interception-mode", "REDIRECT"},
      {"istio-inbound-tproxy-mark", "1337"},
      {"istio-inbound-tproxy-route-table", "133"},
      {"istio-inbound-ports", ""},
      {"istio-service-cidr", ""},
      {"istio-outbound-owner-groups", "*"},
      {"istio-outbound-ipv4-loopback-cidr", "127.0.0.1/32"},
      {"iptables-probe-port", "15002"},
      {"probe-timeout", "5s"},
      {"wait", "30"},
      {"dry-run", "false"},
      {"restore-format", "true"},
  };
  for (const auto& [name, value] : expected) EXPECT_EQ(settings.Text(name), value) << name;
  for (const OptionSpec& option : Options()) {
    EXPECT_TRUE(settings.Get(option.name).is_default()) << option.name;
  }
}

TEST(Settings, TheBackendIsDescribedByAllItsNames) {
  const auto effective = [](const std::vector<std::string>& arguments) {
    return Described(arguments, {}).at("backend").at("effective");
  };
  EXPECT_EQ(effective({}), "auto");
  EXPECT_EQ(effective({"--native-nftables"}), "nftables");
  EXPECT_EQ(effective({"--force-iptables-binary", "legacy"}), "iptables");
  EXPECT_EQ(effective({"--native-nftables", "--backend", "iptables"}), "iptables");
}

TEST(Settings, EveryTextFlagTakesAllItsForms) {
  for (const OptionSpec& option : OptionsOfKind(OptionKind::kText)) {
    const std::string flag = FlagOf(option);
    std::vector<std::vector<std::string>> forms = {{flag, "12"}, {flag + "=12"}};
    std::vector<std::vector<std::string>> empty = {{flag, ""}, {flag + "="}};
    if (option.letter != 0) {
      const std::string letter = std::string("-") + option.letter;
      forms.insert(forms.end(), {{letter, "12"}, {letter + "12"}, {letter + "=12"}});
      empty.insert(empty.end(), {{letter, ""}, {letter + "="}});
    }
    const auto check = [&](const auto& all, const std::string& value) {
      for (const auto& form : all) {
        const Settings settings = Parse(form);
        EXPECT_EQ(settings.Text(option.name), value) << testing::PrintToString(form);
        EXPECT_EQ(settings.Get(option.name).origin, flag);
        EXPECT_FALSE(settings.Get(option.name).is_default());
        // No other setting is affected: `-x` once swallowed `-b`.
        const auto given = std::ranges::count_if(
            settings.values, [](const Setting& setting) { return !setting.is_default(); });
        EXPECT_EQ(given, 1) << testing::PrintToString(form);
      }
    };
    check(forms, "12");
    check(empty, "");
  }
}

TEST(Settings, EveryBooleanFlagTakesAllItsForms) {
  for (const OptionSpec& option : OptionsOfKind(OptionKind::kBool)) {
    const std::string flag = FlagOf(option);
    EXPECT_TRUE(Parse({flag}).Bool(option.name)) << flag;
    for (const char* yes : {"1", "t", "T", "true", "TRUE", "True"}) {
      EXPECT_TRUE(Parse({flag + "=" + yes}).Bool(option.name)) << flag << yes;
    }
    for (const char* no : {"0", "f", "F", "false", "FALSE", "False"}) {
      EXPECT_FALSE(Parse({flag + "=" + no}).Bool(option.name)) << flag << no;
    }
    for (const char* neither : {"", "yes", "no", "tRUE", " true"}) {
      EXPECT_THROW(Parse({flag + "=" + neither}).Bool(option.name), Error) << flag << neither;
    }
    if (option.letter == 0) continue;
    const std::string letter = std::string("-") + option.letter;
    EXPECT_TRUE(Parse({letter}).Bool(option.name)) << letter;
    EXPECT_FALSE(Parse({letter + "=false"}).Bool(option.name)) << letter;
  }
}

TEST(Settings, BooleanLettersStandTogether) {
  const Settings both = Parse({"-nf"});
  EXPECT_TRUE(both.Bool("dry-run"));
  EXPECT_FALSE(both.Get("restore-format").is_default());
  const Settings with_text = Parse({"-nfp", "16001"});
  EXPECT_TRUE(with_text.Bool("dry-run"));
  EXPECT_EQ(with_text.Text("envoy-port"), "16001");
  EXPECT_EQ(Parse({"-np16001"}).Text("envoy-port"), "16001");
  EXPECT_EQ(Parse({"-nx", ""}).Text("istio-service-exclude-cidr"), "");
  EXPECT_FALSE(Parse({"-nf=false"}).Bool("restore-format"));
}

TEST(Settings, TheLineOfTodaysManifestsIsUnderstood) {
  const Settings settings = Parse({"-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT",
                                   "-i", "*", "-x", "", "-b", "*", "-d", "15090,15020"});
  EXPECT_EQ(settings.Text("istio-service-exclude-cidr"), "");
  EXPECT_EQ(settings.Text("istio-inbound-ports"), "*");
  EXPECT_EQ(settings.Text("istio-local-exclude-ports"), "15090,15020");
  EXPECT_THAT(settings.warnings, IsEmpty());
}

TEST(Settings, AFlagIsNeverTheValueOfAnother) {
  EXPECT_THAT(Refusal({"-x", "-b", "*"}), HasSubstr("--istio-service-exclude-cidr has no value"));
  EXPECT_THAT(Refusal({"-x", "-b80"}), HasSubstr("--istio-service-exclude-cidr has no value"));
  EXPECT_THAT(Refusal({"--istio-service-exclude-cidr", "--istio-inbound-ports", "*"}),
              HasSubstr("--istio-service-exclude-cidr has no value"));
  EXPECT_THAT(Refusal({"--istio-exclude-interfaces", "--dry-run"}),
              HasSubstr("--istio-exclude-interfaces has no value"));
  EXPECT_THAT(Refusal({"--envoy-user", "--wait=3"}), HasSubstr("--envoy-user has no value"));
  EXPECT_THAT(Refusal({"-np"}), HasSubstr("--envoy-port has no value"));
}

TEST(Settings, NegativeNumberIsAValue) { EXPECT_EQ(Parse({"-u", "-1"}).Text("proxy-uid"), "-1"); }

TEST(Settings, TheLastOfRepeatedFlagsCountsAndThatIsSaid) {
  const Settings settings = Parse({"-p", "1", "--envoy-port", "2", "-p3"});
  EXPECT_EQ(settings.Text("envoy-port"), "3");
  EXPECT_THAT(settings.warnings,
              ElementsAre("--envoy-port is given 3 times; the last one counts: \"3\""));
  EXPECT_THAT(Parse({"-p", "1", "-p", "1"}).warnings, IsEmpty());
}

TEST(Settings, EveryFlagHasItsVariables) {
  for (const OptionKind kind : {OptionKind::kText, OptionKind::kBool}) {
    for (const OptionSpec& option : OptionsOfKind(kind)) {
      if (option.flag_only) continue;
      std::vector<std::string> names = {option.variable.data()};
      for (const char* const other : option.other_variables) {
        if (other != nullptr) names.emplace_back(other);
      }
      for (const std::string& name : names) {
        const Settings settings = Parse({}, {{name, "1"}});
        EXPECT_EQ(settings.Text(option.name), "1") << name;
        EXPECT_EQ(settings.Get(option.name).origin, name + " in the environment");
      }
    }
  }
}

TEST(Settings, VariablesHaveTheNamesThatManifestsUse) {
  const std::map<std::string, std::string> expected = {
      {"ENVOY_PORT", "envoy-port"},
      {"INBOUND_CAPTURE_PORT", "inbound-capture-port"},
      {"PROXY_UID", "proxy-uid"},
      {"ENVOY_USER", "envoy-user"},
      {"ISTIO_INBOUND_INTERCEPTION_MODE", "istio-inbound-interception-mode"},
      {"INBOUND_INTERCEPTION_MODE", "istio-inbound-interception-mode"},
      {"INBOUND_TPROXY_MARK", "istio-inbound-tproxy-mark"},
      {"INBOUND_TPROXY_ROUTE_TABLE", "istio-inbound-tproxy-route-table"},
      {"ISTIO_INBOUND_PORTS", "istio-inbound-ports"},
      {"ISTIO_OUTBOUND_OWNER_GROUPS", "istio-outbound-owner-groups"},
      {"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "istio-outbound-owner-groups-exclude"},
      {"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "istio-outbound-ipv4-loopback-cidr"},
      {"ISTIO_META_DNS_CAPTURE", "redirect-dns"},
      {"INVALID_DROP", "drop-invalid"},
      {"ISTIO_DUAL_STACK", "dual-stack"},
      {"SLUICE_WAIT", "wait"},
      {"SLUICE_CONFIG", "config"},
  };
  for (const auto& [variable, name] : expected) {
    if (name == "config") continue;
    EXPECT_EQ(Parse({}, {{variable, "1"}}).Text(name), "1") << variable;
  }
  const OptionSpec* config = FindOption("config");
  ASSERT_NE(config, nullptr);
  EXPECT_STREQ(config->variable.data(), "SLUICE_CONFIG");
}

// Other programs may use names such as WAIT or CONFIG.
TEST(Settings, OurOwnFlagsDoNotReadEverybodysVariables) {
  const Settings settings =
      Parse({}, {{"WAIT", "1"}, {"IPV6", "off"}, {"LOG_FORMAT", "x"}, {"CONFIG", "/nonexistent"}});
  for (const OptionSpec& option : Options()) {
    EXPECT_TRUE(settings.Get(option.name).is_default()) << option.name;
  }
}

TEST(Settings, WhatKubernetesSaysOfServicesIsNoPort) {
  const Settings settings = Parse({}, {{"ENVOY_PORT", "tcp://10.0.0.1:80"}});
  EXPECT_EQ(settings.Text("envoy-port"), "15001");
  EXPECT_THAT(settings.notes, ElementsAre(HasSubstr("ENVOY_PORT in the environment is ignored")));
}

TEST(Settings, AnEmptyVariableIsNotSet) {
  EXPECT_TRUE(Parse({}, {{"ENVOY_PORT", ""}}).Get("envoy-port").is_default());
}

TEST(Settings, TheNamesOwnVariableWinsOverItsAlternates) {
  EXPECT_EQ(Parse({}, {{"INVALID_DROP", "false"}, {"DROP_INVALID", "true"}}).Text("drop-invalid"),
            "true");
}

TEST(Settings, FlagsWinOverEnvironmentOverFileOverDefaults) {
  const File file(R"({"envoy-port": 1, "inbound-capture-port": 1, "inbound-tunnel-port": 1})");
  const Settings settings = Parse({"--config", file.path(), "--inbound-tunnel-port=3"},
                                  {{"INBOUND_CAPTURE_PORT", "2"}, {"INBOUND_TUNNEL_PORT", "2"}});
  EXPECT_EQ(settings.Text("iptables-probe-port"), "15002");
  EXPECT_EQ(settings.Text("envoy-port"), "1");
  EXPECT_EQ(settings.Get("envoy-port").origin, "\"envoy-port\" in " + file.path() + ":1:2");
  EXPECT_EQ(settings.Text("inbound-capture-port"), "2");
  EXPECT_EQ(settings.Text("inbound-tunnel-port"), "3");
  EXPECT_EQ(Parse({}, {{"SLUICE_CONFIG", file.path()}}).Text("envoy-port"), "1");
}

TEST(Settings, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(Refusal({"--no-such-flag"}),
            "cannot understand the command line: there is no flag --no-such-flag; see --help");
  EXPECT_EQ(Refusal({"-Q"}), "cannot understand the command line: there is no flag -Q; see --help");
  EXPECT_THAT(Refusal({"-nQ"}), HasSubstr("there is no flag -Q"));
  EXPECT_THAT(Refusal({"--no-such-flag=1"}), HasSubstr("there is no flag --no-such-flag; see"));
  EXPECT_THAT(Refusal({"--help=1"}), HasSubstr("--help takes no value"));
  // No guessing: an abbreviation may mean another flag in future.
  EXPECT_EQ(Refusal({"--envoy-por", "1"}),
            "cannot understand the command line: there is no flag --envoy-por; did you mean "
            "--envoy-port?");
}

TEST(Settings, RefusedFlagsSayWhyUnlessTheyAreOff) {
  for (const OptionSpec& option : Options()) {
    if (!IsRefused(option)) continue;
    const std::string flag = FlagOf(option);
    EXPECT_EQ(Refusal({flag + "=true"}), "cannot do what " + flag + " asks for: " + option.refused);
    const std::string variable = option.variable.data();
    EXPECT_EQ(Refusal({}, {{variable, "true"}}),
              "cannot do what " + variable + " in the environment asks for: " + option.refused);
    EXPECT_EQ(Refusal({flag + "=" + option.fallback}), "accepted");
  }
}

TEST(Settings, IgnoredFlagsAreNotedUnlessTheyAreOff) {
  int ignored = 0;
  for (const OptionSpec& option : Options()) {
    if (*option.ignored == '\0') continue;
    ++ignored;
    const std::string flag = FlagOf(option);
    EXPECT_THAT(Parse({flag + "=1"}).notes, ElementsAre(flag + " is ignored: " + option.ignored));
    if (option.kind == OptionKind::kBool) {
      EXPECT_THAT(Parse({flag + "=false"}).notes, IsEmpty());
    }
  }
  EXPECT_GE(ignored, 10);
}

// Manifests for the reference tool start it as a subcommand.
TEST(Settings, TheNameOfTheReferenceToolMayStandFirst) {
  EXPECT_EQ(Parse({"istio-iptables", "-p", "16001"}).Text("envoy-port"), "16001");
  EXPECT_EQ(Parse({"istio-iptables"}).command, Command::kApply);
  EXPECT_FALSE(Parse({"istio-iptables"}).Bool("cleanup-only"));
  EXPECT_TRUE(Parse({"istio-clean-iptables", "-u", "1337"}).Bool("cleanup-only"));
  EXPECT_THAT(Refusal({"-n", "istio-iptables"}), HasSubstr("\"istio-iptables\" is neither"));
}

// Its logging flags have none, and other programs may read such names.
TEST(Settings, LoggingFlagsHaveNoVariable) {
  const Settings settings = Parse({}, {{"LOG_OUTPUT_LEVEL", "x"}, {"LOG_AS_JSON", "x"}});
  EXPECT_TRUE(settings.Get("log_output_level").is_default());
  EXPECT_TRUE(settings.Get("log_as_json").is_default());
}

TEST(Settings, CommandsStandAnywhere) {
  EXPECT_EQ(Parse({"diff", "-p", "1"}).command, Command::kDiff);
  EXPECT_EQ(Parse({"-p", "1", "show"}).command, Command::kShow);
  EXPECT_EQ(Parse({"verify"}).command, Command::kVerify);
  EXPECT_EQ(Parse({"--help"}).command, Command::kHelp);
  EXPECT_EQ(Parse({"-h"}).command, Command::kHelp);
  EXPECT_EQ(Parse({"-nh", "--version"}).command, Command::kVersion);
  EXPECT_EQ(Parse({"--version"}).command, Command::kVersion);
  EXPECT_THAT(Refusal({"apply"}), HasSubstr("\"apply\" is neither a flag's value nor a command"));
  EXPECT_THAT(Refusal({"diff", "show"}), HasSubstr("\"show\" is neither"));
  EXPECT_THAT(Refusal({"verfy"}), HasSubstr("nor a command; did you mean verify?"));
  EXPECT_THAT(Refusal({"completions", "bash"}), HasSubstr("; did you mean completion?"));
  EXPECT_THAT(Refusal({"dry_run"}), HasSubstr("; did you mean --dry-run?"));
  EXPECT_THAT(Refusal({"--exclude-uid", "1"}), HasSubstr("; did you mean --exclude-uids?"));
  EXPECT_THAT(Refusal({"--hlep"}), HasSubstr("; did you mean --help?"));
}

TEST(Settings, AfterTwoDashesThereAreNoFlags) {
  EXPECT_EQ(Parse({"-p", "1", "--", "show"}).command, Command::kShow);
  EXPECT_THAT(Refusal({"--", "-n"}), HasSubstr("\"-n\" is neither a flag's value nor a command"));
  EXPECT_THAT(Refusal({"-"}), HasSubstr("\"-\" is neither"));
}

// Only "=" gives a switch a value.
TEST(Settings, ASwitchLeavesTheWordAfterItAlone) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--dual-stack", "diff"}, {"-n", "diff"}, {"-nf", "diff"}}) {
    EXPECT_EQ(Parse(words).command, Command::kDiff) << words[0];
  }
  const Settings settings = Parse({"--dual-stack=false", "diff", "--redirect-dns", "-p", "1"});
  EXPECT_EQ(settings.command, Command::kDiff);
  EXPECT_FALSE(settings.Bool("dual-stack"));
  EXPECT_TRUE(settings.Bool("redirect-dns"));
  EXPECT_THAT(Refusal({"--dual-stack", "false"}),
              HasSubstr("after an equals sign, as in --dual-stack=false"));
}

TEST(Settings, HelpNamesEveryFlag) {
  const std::string help = HelpText();
  for (const OptionSpec& option : Options()) {
    EXPECT_THAT(help, HasSubstr(FlagOf(option)));
  }
  EXPECT_THAT(help, HasSubstr("Exit codes: 0 done"));
}

TEST(Settings, DescriptionTellsWhereEachValueComesFrom) {
  const auto described = Described({"-p", "16001"}, {{"PROXY_UID", "root"}});
  EXPECT_EQ(described.size(), Options().size());
  const auto entry = [&](const char* name) { return boost::json::serialize(described.at(name)); };
  EXPECT_EQ(entry("envoy-port"),
            R"({"value":"16001","origin":"--envoy-port","effective":"16001"})");
  EXPECT_EQ(entry("proxy-uid"),
            R"({"value":"root","origin":"PROXY_UID in the environment","effective":"0"})");
  EXPECT_EQ(entry("wait"), R"({"value":"30","origin":"default","effective":"30s"})");
}

TEST(Settings, DescriptionTellsWhatTheyAmountTo) {
  const auto described =
      Described({"-u", "root,5", "-b", "80,81,82-90", "-x", "10.0.0.0/9,10.128.0.0/9", "-t", "0x4d",
                 "--dual-stack=t", "--clean", "--log_as_json", "-m", ""},
                {});
  const auto effective = [&](const char* name) {
    return std::string(described.at(name).at("effective").as_string());
  };
  EXPECT_EQ(effective("proxy-uid"), "0,5");
  EXPECT_EQ(effective("proxy-gid"), "0,5");
  EXPECT_EQ(effective("istio-inbound-ports"), "80-90");
  EXPECT_EQ(effective("istio-service-exclude-cidr"), "10.0.0.0/8");
  EXPECT_EQ(effective("istio-inbound-tproxy-mark"), "77");
  EXPECT_EQ(effective("dual-stack"), "true");
  EXPECT_EQ(effective("ipv6"), "on");
  EXPECT_EQ(effective("cleanup-only"), "true");
  EXPECT_EQ(effective("log-format"), "json");
  EXPECT_EQ(effective("istio-inbound-interception-mode"), "REDIRECT");
  EXPECT_EQ(effective("redirect-dns"), "false");
}

TEST(OptionTable, NamesAndLettersAndVariablesAreThereOnce) {
  std::map<std::string, int> seen;
  for (const OptionSpec& option : Options()) {
    ++seen[std::string(option.name)];
    if (!option.flag_only) ++seen[std::string("variable ") + option.variable.data()];
    for (const char* const other : option.other_variables) {
      if (other != nullptr) ++seen[std::string("variable ") + other];
    }
    if (option.letter != 0) ++seen[std::string("-") + option.letter];
  }
  for (const auto& [name, count] : seen) EXPECT_EQ(count, 1) << name;
}

}  // namespace
}  // namespace sluice::capture
