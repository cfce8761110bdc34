// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// libsluice_fail_accept.so: an accept4(2) that fails when a test says so (accept_failures.h). After
// the start it only uses system calls that the proxy's filter allows.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "test/support/accept_failures.h"

namespace {

using sluice::testing_support::AcceptFailurePlan;

AcceptFailurePlan* FindPlan() {
  const char* const path = std::getenv(sluice::testing_support::kAcceptFailuresVariable);
  const int fd = path != nullptr ? ::open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) std::abort();  // a test that injects nothing proves nothing
  void* const memory =
      ::mmap(nullptr, sizeof(AcceptFailurePlan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory == MAP_FAILED) std::abort();
  return static_cast<AcceptFailurePlan*>(memory);
}

// Before main, which installs the filter.
AcceptFailurePlan* const plan = FindPlan();

// The error for this call, or 0.
int Planned() {
  const int error = plan->error.load();
  if (error == 0 || plan->left.load() == 0) return 0;
  const int self = static_cast<int>(::syscall(SYS_gettid));
  int nobody = 0;
  return plan->thread.compare_exchange_strong(nobody, self) || nobody == self ? error : 0;
}

int Fail(int error) {
  if (plan->left.load() > 0) plan->left.fetch_sub(1);
  plan->failed.fetch_add(1);
  errno = error;
  return -1;
}

}  // namespace

extern "C" int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  const int error = Planned();
  if (error != 0 && !plan->loses_connection) return Fail(error);
  const auto accepted = static_cast<int>(::syscall(SYS_accept4, fd, address, length, flags));
  if (error == 0 || accepted < 0) return accepted;
  ::close(accepted);
  return Fail(error);
}
