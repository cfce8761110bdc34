// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// A proxy that nobody uses is not woken: on a node full of pods each timer would cost 200 wake-ups.

#include <stdlib.h>
#include <sys/syscall.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"

namespace sluice::testing_support {
namespace {

// Why this thread will wake up by itself, from /proc/PID/task/TID/syscall (proc(5)): the number of
// the system call that it waits in and six arguments. Empty: it waits for an event, for an hour
// or for ever.
std::string WhyAwake(const std::filesystem::path& task) {
  std::ifstream file(task / "syscall");
  std::string line;
  std::getline(file, line);
  std::istringstream words(line);
  long number = -1;
  std::array<std::string, 6> arguments;
  if (!(words >> number)) return line;  // "running"
  for (std::string& argument : arguments) words >> argument;
  // int, which some processors' calling conventions extend, or for ppoll a pointer to the time.
  const auto for_ever = [](const std::string& argument) {
    return argument == "0xffffffff" || argument == "0xffffffffffffffff";
  };
#if defined(SYS_poll)
  constexpr const char* kAnHour = "0x36ee80";
  if (number == SYS_poll && for_ever(arguments[2])) return {};
  if (number == SYS_poll && arguments[2] == kAnHour) return {};
  if (number == SYS_epoll_wait && for_ever(arguments[3])) return {};
#endif
  if (number == SYS_ppoll && arguments[2] == "0x0") return {};
  if (number == SYS_epoll_pwait && for_ever(arguments[3])) return {};
  return line;
}

// What will wake up a process that nothing happens to: one line for each thread and timer.
std::string Wakers(pid_t pid) {
  const std::filesystem::path process = "/proc/" + std::to_string(pid);
  std::string out;
  for (const auto& task : std::filesystem::directory_iterator(process / "task")) {
    const std::string why = WhyAwake(task.path());
    if (!why.empty()) out += task.path().string() + ": " + why + "\n";
  }
  for (const auto& descriptor : std::filesystem::directory_iterator(process / "fdinfo")) {
    std::ifstream file(descriptor.path());
    for (std::string line; std::getline(file, line);) {
      // Of timerfd_create(2): seconds and nanoseconds that are left.
      if (line.starts_with("it_value:") && line != "it_value: (0, 0)") {
        out += descriptor.path().string() + ": " + line + "\n";
      }
    }
  }
  return out;
}

class IdleTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    network_ = std::make_unique<PodNetwork>();
  }
  static void ExpectRest(ProxyProcess& proxy) {
    std::string wakers;
    EXPECT_TRUE(Eventually([&] {
      wakers = Wakers(proxy.process().pid());
      return wakers.empty();
    })) << wakers;
  }

  std::unique_ptr<PodNetwork> network_;
};

// Nor with mutual TLS, but for a look once an hour.
TEST_F(IdleTest, IsNotWokenByFilesThatDoNotChange) {
  std::string top = (std::filesystem::temp_directory_path() / "sluice-idle-XXXXXX").string();
  ASSERT_NE(::mkdtemp(top.data()), nullptr);
  for (const std::vector<std::string>& argv :
       std::vector<std::vector<std::string>>{{ProgramPath("sluice-proxy"), "certificate", "--ca",
                                              top + "/ca", "--directory", top + "/cart"},
                                             {"chown", "-R", "1337", top}}) {
    const CommandResult made = RunCommand(network_->pod(), {.argv = argv});
    ASSERT_EQ(made.exit_status, 0) << made.err;
  }
  ProxyProcess proxy(network_->pod(),
                     {"--mtls-credentials=" + top + "/cart", "--mtls-inbound=strict",
                      "--mtls-allow=spiffe://cluster.local/ns/*/sa/*", "--concurrency=2"});
  ASSERT_TRUE(proxy.process().WaitForText("outbound on", kPatience)) << proxy.process().Err();
  if (proxy.process().Err().find("looked at once a second") != std::string::npos) {
    GTEST_SKIP() << "no inotify instance is left for uid 1337: " << proxy.process().Err();
  }
  ExpectRest(proxy);
  std::filesystem::remove_all(top);
}

TEST_F(IdleTest, IsNotWokenByItself) {
  ProxyProcess proxy(network_->pod(), {"--http=auto", "--dns-port=15053", "--concurrency=2"});
  // Its last line before it serves. A request to a control port would have a time limit.
  ASSERT_TRUE(proxy.process().WaitForText("outbound on", kPatience)) << proxy.process().Err();
  ExpectRest(proxy);

  // Once everything is done that a connection leaves behind, it rests again.
  const CommandResult init = RunCommand(
      network_->pod(), {.argv = {ProgramPath("sluice-init"), "-u", "1337", "-i", "*", "-b", "*"}});
  ASSERT_EQ(init.exit_status, 0) << init.err;
  Acceptor acceptor(network_->outside(), Family::kIpv4);
  {
    auto client =
        Peer::Connect(network_->pod(), {IpAddress::Parse("198.51.100.1"), acceptor.port()});
    ASSERT_TRUE(client);
    auto server = acceptor.Accept();
    ASSERT_TRUE(server) << proxy.process().Err();
    ASSERT_TRUE(client->Send("hello"));
    ASSERT_EQ(server->Receive(5), "hello");
    EXPECT_NE(Wakers(proxy.process().pid()), "") << "there is a limit for idle connections";
  }
  ExpectRest(proxy);
}

}  // namespace
}  // namespace sluice::testing_support
