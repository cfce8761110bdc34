// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-cni/request.h"

#include <functional>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cmd/sluice-cni/plugin.h"

namespace sluice::cni {
namespace {

using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

Variables Add() {
  return {{"CNI_COMMAND", "ADD"},
          {"CNI_CONTAINERID", "one"},
          {"CNI_IFNAME", "eth0"},
          {"CNI_NETNS", "/nowhere"},
          {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"}};
}

Request Read(const Variables& variables, std::string_view input) {
  return ReadRequest(
      [&](const char* name) {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
      },
      input);
}

Failure FailureOf(const std::function<void()>& body) {
  try {
    body();
  } catch (const Failure& failure) {
    return failure;
  }
  ADD_FAILURE() << "no Failure was thrown";
  return {0, "", ""};
}

std::string Config(const std::string& more, const std::string& version = "1.0.0") {
  return R"({"cniVersion": ")" + version + R"(", "name": "pods", "type": "sluice-cni")" + more +
         "}";
}

std::string Annotated(const std::string& more = "") {
  return R"(, "runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"sluice.dev/capture": "{}")" +
         more + R"(}, "dns": {"servers": ["10.96.0.10"]}}, "prevResult": {"cniVersion": "1.0.0"})";
}

TEST(CniRequest, WhatARuntimeSays) {
  const Request request = Read(Add(), Config(Annotated()));
  EXPECT_EQ(request.command, "ADD");
  EXPECT_EQ(request.pod_namespace, "shop");
  EXPECT_EQ(request.network_namespace, "/nowhere");
  EXPECT_EQ(request.annotations.at("sluice.dev/capture"), "{}");
  EXPECT_EQ(request.resolvers, std::vector<std::string>{"10.96.0.10"});
  EXPECT_TRUE(IsOurs(request));
}

TEST(CniRequest, WhoIsLeftAlone) {
  Variables variables = Add();
  const auto ours = [&](const std::string& more) { return IsOurs(Read(variables, Config(more))); };
  EXPECT_FALSE(ours(R"(, "prevResult": {})"));
  EXPECT_FALSE(ours(R"(, "prevResult": {}, "runtimeConfig": {}, "args": {"a": 1})"));
  EXPECT_FALSE(ours(Annotated(R"(, "sidecar.istio.io/inject": "false")")));
  EXPECT_FALSE(ours(Annotated(R"(, "sidecar.istio.io/interceptionMode": "NONE")")));
  EXPECT_FALSE(ours(Annotated() + R"(, "exclude_namespaces": ["a", "shop"])"));
  EXPECT_TRUE(ours(Annotated() + R"(, "exclude_namespaces": ["a"])"));
  variables["CNI_ARGS"] = "K8S_POD_NAMESPACE=kube-system";
  EXPECT_FALSE(ours(Annotated()));
}

// Regardless of its contents and surroundings.
TEST(CniRequest, ThePreviousResultIsPassedOnByTheByte) {
  const std::string result =
      "{ \"cniVersion\":\"1.0.0\",\n\t\"ips\": [{\"address\": \"10.0.0.2/24\", \"x\": 1.50}],"
      " \"a\\\"b\": \"} , \\\"prevResult\\\"\" , \"dns\":{} }";
  for (const std::string& text :
       {Config(", \"prevResult\" : " + result),
        Config(",\"prevResult\":" + result + "\n , \"z\": 1"),
        Config(", \"a\": {\"prevResult\": 1}, \"prevResult\":" + result + " ")}) {
    const Request request = Read(Add(), text);
    EXPECT_EQ(PassOn(request.previous, request.version), result);
  }
}

TEST(CniRequest, AResultOfAnotherVersionIsConverted) {
  EXPECT_EQ(PassOn(R"({"cniVersion":"1.0.0","ips":[{"address":"fd00::2/64"}]})", "0.4.0"),
            R"({"cniVersion":"0.4.0","ips":[{"address":"fd00::2/64","version":"6"}]})");
  EXPECT_EQ(PassOn(R"({"ips":[{"version":"4","address":"10.0.0.2/24"}]})", "1.1.0"),
            R"({"ips":[{"address":"10.0.0.2/24"}],"cniVersion":"1.1.0"})");
}

TEST(CniRequest, ErrorsAreThoseOfTheSpecification) {
  const auto code = [](const Variables& variables, const std::string& input) {
    return FailureOf([&] { Read(variables, input); }).code;
  };
  for (const char* const text : {"", "{", "[]", "null", "{\"cniVersion\": 1}", "{} {}"}) {
    EXPECT_EQ(code(Add(), text), Failure::kDecoding) << text;
  }
  EXPECT_EQ(code(Add(), std::string(100000, '[')), Failure::kDecoding);
  EXPECT_EQ(code(Add(), Config(Annotated(R"(, "other": 1)"))), Failure::kDecoding);
  EXPECT_EQ(code(Add(), Config("")), Failure::kConfiguration);
  for (const char* const version : {"", "0.2.0", "0.3.0", "2.0.0", "1.0"}) {
    EXPECT_EQ(code(Add(), Config(Annotated(), version)), Failure::kIncompatibleVersion);
  }
  for (const char* const name : {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"}) {
    Variables variables = Add();
    variables.erase(name);
    EXPECT_EQ(code(variables, Config(Annotated())), Failure::kEnvironment) << name;
  }
  Variables variables = Add();
  variables["CNI_COMMAND"] = "add";
  EXPECT_EQ(code(variables, Config(Annotated())), Failure::kEnvironment);
}

TEST(CniRequest, CommandsOfNewerVersions) {
  const auto code = [](const std::string& command, const std::string& version) -> int {
    Variables variables = Add();
    variables["CNI_COMMAND"] = command;
    try {
      Read(variables, Config(R"(, "prevResult": {})", version));
      return 0;
    } catch (const Failure& failure) {
      return failure.code;
    }
  };
  for (const std::string& version : Versions()) {
    EXPECT_EQ(code("ADD", version), 0);
    EXPECT_EQ(code("DEL", version), 0);
    EXPECT_EQ(code("CHECK", version), version == "0.3.1" ? 1 : 0);
    EXPECT_EQ(code("GC", version), version == "1.1.0" ? 0 : 1);
    EXPECT_EQ(code("STATUS", version), version == "1.1.0" ? 0 : 1);
  }
}

TEST(CniRequest, VersionIsAnsweredWhateverIsAsked) {
  const Variables variables = {{"CNI_COMMAND", "VERSION"}};
  EXPECT_EQ(Answer(Read(variables, "")),
            "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\","
            "\"1.1.0\"]}\n");
  EXPECT_THAT(Answer(Read(variables, R"({"cniVersion": "0.4.0"})")), HasSubstr(R"("0.4.0","supp)"));
}

// It needs neither namespace nor file: the one named does not exist.
TEST(CniPlugin, NothingIsDoneForOthers) {
  Variables variables = Add();
  const std::string input = Config(R"(, "prevResult": {"cniVersion": "1.0.0"})");
  EXPECT_EQ(Answer(Read(variables, input)), R"({"cniVersion": "1.0.0"})");
  variables["CNI_COMMAND"] = "CHECK";
  EXPECT_EQ(Answer(Read(variables, input)), "");
  variables["CNI_COMMAND"] = "DEL";
  EXPECT_EQ(Answer(Read(variables, input)), "");
}

TEST(CniPlugin, WrongAnnotationsAreSaid) {
  const Failure failure = FailureOf([] {
    Answer(
        Read(Add(), Config(Annotated(R"(, "traffic.sidecar.istio.io/includeInboundPorts": "x")"))));
  });
  EXPECT_EQ(failure.code, Failure::kAnnotations);
  EXPECT_THAT(failure.details, HasSubstr("traffic.sidecar.istio.io/includeInboundPorts"));
  EXPECT_EQ(ErrorText({100, "a", "b"}, "0.4.0"),
            "{\"cniVersion\":\"0.4.0\",\"code\":100,\"msg\":\"a\",\"details\":\"b\"}\n");
}

}  // namespace
}  // namespace sluice::cni
