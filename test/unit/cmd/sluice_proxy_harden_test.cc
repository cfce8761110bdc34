// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "cmd/sluice-proxy/harden.h"
#include "cmd/sluice-proxy/notify.h"

namespace sluice::proxy {
namespace {

// A sanitizer makes system calls that the proxy does not.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

// How a hardened process that runs `body` ends: its exit code, or minus the signal that killed it.
int Outcome(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    Harden();
    body();
    ::_exit(7);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(Harden, LetsTheDailyRoundPass) {
  EXPECT_EQ(Outcome([] { const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }),
            7);
  // Calls that the C library makes now and then: see kAllowed.
  EXPECT_EQ(Outcome([] {
              cpu_set_t set;
              ::sched_getaffinity(0, sizeof(set), &set);
            }),
            7);
}

TEST(Harden, KillsOnTheRest) {
  EXPECT_EQ(Outcome([] { ::execl("/bin/true", "true", nullptr); }), -SIGSYS);
  EXPECT_EQ(Outcome([] { ::syscall(SYS_ptrace, 0, 0, 0, 0); }), -SIGSYS);
  EXPECT_EQ(Outcome([] { ::syscall(SYS_setuid, 0); }), -SIGSYS);
  EXPECT_EQ(Outcome([] { ::syscall(SYS_unlinkat, -1, "/nothing", 0); }), -SIGSYS);
}

#endif

TEST(Notify, TellsTheServiceManager) {
  const std::string name = "@sluice-notify-test-" + std::to_string(::getpid());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, name.size());
  address.sun_path[0] = '\0';
  const UniqueFd manager(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ASSERT_EQ(::bind(manager.get(), reinterpret_cast<sockaddr*>(&address),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())),
            0);
  ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  Notify("READY=1");
  ::unsetenv("NOTIFY_SOCKET");
  Notify("STOPPING=1");
  char text[64] = {};
  EXPECT_EQ(::recv(manager.get(), text, sizeof(text), 0), 7);
  EXPECT_STREQ(text, "READY=1");
  EXPECT_LT(::recv(manager.get(), text, sizeof(text), 0), 0) << "nobody asked for the second";
}

}  // namespace
}  // namespace sluice::proxy
