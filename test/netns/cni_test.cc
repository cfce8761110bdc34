// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Runs sluice-cni as a container runtime runs a plugin.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::IsEmpty;

// A plugin call. `annotations` are those of the pod, as the runtime passes them.
struct Call {
  std::string command = "ADD";
  std::string version = "1.0.0";
  json::object annotations = {{"sluice.dev/capture", "{}"}};
  std::string network_namespace = {};
  std::string previous = R"({"cniVersion":"1.0.0","interfaces":[{"name":"eth0"}],"x":1})";
};

std::string PathOf(const netns::Namespace& where) {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(where.fd());
}

Command CommandOf(const Call& call) {
  const std::string input =
      R"({"cniVersion":")" + call.version + R"(","name":"pods","type":"sluice-cni",)" +
      R"("runtimeConfig":{"io.kubernetes.cri.pod-annotations":)" +
      json::serialize(call.annotations) + "}" +
      (call.previous.empty() ? "" : R"(,"prevResult":)" + call.previous) + "}";
  return {.argv = {ProgramPath("sluice-cni")},
          .environment = {"CNI_COMMAND=" + call.command, "CNI_CONTAINERID=one", "CNI_IFNAME=eth0",
                          "CNI_NETNS=" + call.network_namespace, "CNI_PATH=/opt/cni/bin",
                          "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"},
          .input = input};
}

std::int64_t CodeOf(const CommandResult& result) {
  EXPECT_NE(result.exit_status, 0);
  return json::parse(result.out).at("code").to_number<std::int64_t>();
}

class Cni : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  const netns::Namespace& pod() const { return network_.pod(); }
  // The working directory is elsewhere: the plugin must find the pod.
  CommandResult Run(Call call) const {
    if (call.network_namespace.empty()) call.network_namespace = PathOf(pod());
    return RunCommand(network_.outside(), CommandOf(call));
  }
  void Add() const {
    const CommandResult result = Run({});
    ASSERT_EQ(result.exit_status, 0) << result.out << result.err;
  }
  void ExpectCaptured() const {
    const Listeners listeners(pod(), {{.port = 15001, .answer = "out15001"},
                                      {.port = 15006, .answer = "in15006"},
                                      {.port = 15020},
                                      {.port = 80}});
    const Listeners world(network_.outside(), {{.port = 80}});
    for (const char* const ip : {"198.51.100.1", "2001:db8::1"}) {
      EXPECT_EQ(Connect(pod(), {IpAddress::Parse(ip), 80}, {.who = kApplication}), "out15001");
      EXPECT_EQ(Connect(pod(), {IpAddress::Parse(ip), 80}, {.who = kProxy}), "direct");
    }
    for (const char* const ip : {"192.0.2.2", "fd00:2::2"}) {
      EXPECT_EQ(Connect(network_.outside(), {IpAddress::Parse(ip), 80}), "in15006");
      EXPECT_EQ(Connect(network_.outside(), {IpAddress::Parse(ip), 15020}), "direct");
    }
  }

  const PodNetwork network_;
};

TEST_F(Cni, APodsLife) {
  const Snapshot fresh = TakeSnapshot(pod());
  Call call;
  const CommandResult first = Run(call);
  ASSERT_EQ(first.exit_status, 0) << first.out;
  EXPECT_EQ(first.out, call.previous);
  ExpectCaptured();
  const Snapshot captured = TakeSnapshot(pod());
  EXPECT_NE(captured, fresh);
  EXPECT_THAT(TakeSnapshot(network_.outside()).tables, IsEmpty());

  const CommandResult second = Run(call);
  EXPECT_EQ(second.out, call.previous);
  EXPECT_EQ(TakeSnapshot(pod()), captured);
  call.command = "CHECK";
  const CommandResult check = Run(call);
  EXPECT_EQ(check.exit_status, 0) << check.out;
  EXPECT_EQ(check.out, "");

  RunInit(pod(), {"--istio-inbound-ports", "80", "--istio-service-cidr", "*"});
  const CommandResult drifted = Run(call);
  EXPECT_EQ(CodeOf(drifted), 102);
  EXPECT_THAT(drifted.out, HasSubstr("15090"));
  Add();
  EXPECT_EQ(TakeSnapshot(pod()), captured);

  call.command = "DEL";
  call.previous = {};
  EXPECT_EQ(Run(call).exit_status, 0);
  EXPECT_EQ(TakeSnapshot(pod()), fresh);
  EXPECT_EQ(Run(call).exit_status, 0);
  call.network_namespace = "/run/netns/is-not-there";
  EXPECT_EQ(Run(call).exit_status, 0);
}

// The runtime leaves the variable empty or unset when the namespace is gone.
TEST_F(Cni, DelWithoutANamespace) {
  const CommandResult result =
      RunCommand(network_.outside(), CommandOf({.command = "DEL", .previous = {}}));
  EXPECT_EQ(result.exit_status, 0) << result.out;
  EXPECT_EQ(result.out, "");
}

TEST_F(Cni, EveryVersion) {
  for (const std::string version : {"0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    Call call{.version = version,
              .previous = R"({"cniVersion":")" + version + R"(", "interfaces": [ ] })"};
    const CommandResult result = Run(call);
    EXPECT_EQ(result.exit_status, 0) << result.out;
    EXPECT_EQ(result.out, call.previous);
    call.command = "CHECK";
    EXPECT_EQ(Run(call).exit_status == 0, version != "0.3.1");
    for (const char* const command : {"GC", "STATUS"}) {
      call.command = command;
      EXPECT_EQ(Run(call).exit_status == 0, version == "1.1.0") << command;
    }
    call.command = "VERSION";
    EXPECT_THAT(Run(call).out,
                HasSubstr(R"("supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"])"));
  }
}

TEST_F(Cni, BadInput) {
  Command command = CommandOf({.network_namespace = PathOf(pod())});
  command.input = "{\"cniVersion\": \"1.0.0\",";
  const CommandResult result = RunCommand(network_.outside(), command);
  EXPECT_EQ(CodeOf(result), 6);
  EXPECT_EQ(CodeOf(Run({.annotations = {{"sluice.dev/capture", "{"}}})), 100);
  EXPECT_EQ(CodeOf(Run({.network_namespace = "/run/netns/is-not-there"})), 4);
  EXPECT_THAT(TakeSnapshot(pod()).tables, IsEmpty());
}

// Also reports how long that takes; nobody should notice it.
TEST_F(Cni, APodThatIsNotOurs) {
  const Call call{.annotations = {{"kubernetes.io/config.source", "api"}},
                  .network_namespace = "/run/netns/is-not-there"};
  std::chrono::microseconds best = std::chrono::seconds(1);
  for (int i = 0; i < 20; ++i) {
    const CommandResult result = RunCommand(network_.outside(), CommandOf(call));
    ASSERT_EQ(result.exit_status, 0) << result.out;
    ASSERT_EQ(result.out, call.previous);
    best = std::min(best, result.cpu);
  }
  std::printf("FIGURE sluice-cni of a pod that is not ours: %ld us of CPU at best\n",
              static_cast<long>(best.count()));
}

// Before each call that changes something. The next call completes the work, or removes all of it.
TEST_F(Cni, Killed) {
  const Snapshot fresh = TakeSnapshot(pod());
  Add();
  const Snapshot whole = TakeSnapshot(pod());
  const Call del{.command = "DEL"};
  ASSERT_EQ(Run(del).exit_status, 0);
  bool finished = false;
  for (int call = 1; call < 60 && !finished; ++call) {
    Command command = CommandOf({.network_namespace = PathOf(pod())});
    command.environment.push_back("SLUICE_KILL_AT_CALL=" + std::to_string(call));
    const CommandResult result = RunCommand(
        network_.outside(), WithPreload(std::move(command), "libsluice_kill_at_call.so"));
    finished = result.exit_status == 0;
    if (!finished) {
      ASSERT_EQ(result.exit_status, 128 + SIGKILL) << result.out;
      ASSERT_EQ(result.out, "");
    }
    if (call % 2 == 0) {
      Add();
      ASSERT_EQ(TakeSnapshot(pod()), whole) << call;
    }
    ASSERT_EQ(Run(del).exit_status, 0);
    ASSERT_EQ(TakeSnapshot(pod()), fresh) << call;
  }
  EXPECT_TRUE(finished);
}

TEST_F(Cni, TwoAtOnce) {
  Add();
  const Snapshot whole = TakeSnapshot(pod());
  for (int round = 0; round < 5; ++round) {
    ASSERT_EQ(Run({.command = "DEL"}).exit_status, 0);
    const Command command = CommandOf({.network_namespace = PathOf(pod())});
    Process one(network_.outside(), command);
    Process other(network_.outside(), command);
    for (Process* const each : {&one, &other}) {
      const CommandResult result = each->Wait(std::chrono::seconds(60));
      ASSERT_EQ(result.exit_status, 0) << result.out;
    }
    ASSERT_EQ(TakeSnapshot(pod()), whole);
  }
}

// A conflist with other plugins before it.
TEST_F(Cni, BehindBridgeAndHostLocal) {
  const std::string plugins = "/usr/lib/cni";
  if (::access((plugins + "/bridge").c_str(), X_OK) != 0) {
    GTEST_SKIP() << "there is no " << plugins << "/bridge";
  }
  std::string data = "/tmp/sluice-cni-test.XXXXXX";
  ASSERT_NE(::mkdtemp(data.data()), nullptr);
  Namespaces namespaces;
  const netns::Namespace& node = namespaces.Add("node");
  const netns::Namespace& pod = namespaces.Add("pod");
  const auto bridge = [&](const std::string& command) {
    return RunCommand(
        node, {.argv = {plugins + "/bridge"},
               .environment = {"CNI_COMMAND=" + command, "CNI_CONTAINERID=one", "CNI_IFNAME=eth0",
                               "CNI_NETNS=" + PathOf(pod), "CNI_PATH=" + plugins},
               .input = R"({"cniVersion":"1.0.0","name":"pods","type":"bridge","bridge":"cni0",)"
                        R"("isGateway":true,"ipam":{"type":"host-local","subnet":"10.88.0.0/16",)"
                        R"("routes":[{"dst":"0.0.0.0/0"}],"dataDir":")" +
                        data + R"("}})"});
  };
  const CommandResult before = bridge("ADD");
  ASSERT_EQ(before.exit_status, 0) << before.out << before.err;
  const std::string previous = json::serialize(json::parse(before.out));
  Call call{.network_namespace = PathOf(pod), .previous = previous};
  const CommandResult added = RunCommand(node, CommandOf(call));
  ASSERT_EQ(added.exit_status, 0) << added.out << added.err;
  EXPECT_EQ(added.out, previous);
  const std::string address(json::parse(previous).at("ips").at(0).at("address").as_string());
  const IpAddress ip = IpAddress::Parse(address.substr(0, address.find('/')));
  {
    const Listeners listeners(
        pod, {{.port = 15001, .answer = "out15001"}, {.port = 15006, .answer = "in15006"}});
    EXPECT_EQ(Connect(node, {ip, 80}), "in15006");
    EXPECT_EQ(Connect(pod, {IpAddress::Parse("10.88.0.1"), 80}, {.who = kApplication}), "out15001");
  }
  call.command = "DEL";
  EXPECT_EQ(RunCommand(node, CommandOf(call)).exit_status, 0);
  EXPECT_EQ(bridge("DEL").exit_status, 0);
  std::filesystem::remove_all(data);
}

}  // namespace
}  // namespace sluice::testing_support
