// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/support/in_namespace.h"

#include <grp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <thread>

#include "base/error.h"

namespace sluice::testing_support {
namespace {

// glibc's functions of these names change all threads of the process; the system calls change only
// the calling one (nptl(7)).
void BecomeOnThisThread(const Credentials& who) {
  if (syscall(SYS_setgroups, who.groups.size(), who.groups.data()) != 0 ||
      syscall(SYS_setresgid, who.gid, who.gid, who.gid) != 0 ||
      syscall(SYS_setresuid, who.uid, who.uid, who.uid) != 0) {
    throw SystemError(errno, "become uid " + std::to_string(who.uid));
  }
}

}  // namespace

std::optional<std::string> MissingPrivilege() {
  if (geteuid() != 0) return "needs root, to make network namespaces and to act as several users";
  try {
    static_cast<void>(netns::Namespace::CreateAnonymous());
    return std::nullopt;
  } catch (const Error& error) {
    return error.what();
  }
}

void RunIn(const netns::Namespace& where, const Credentials& who,
           const std::function<void()>& body) {
  std::exception_ptr failure;
  std::thread([&] {
    try {
      // Not ScopedNamespace: after changing the user it could not go back. It need not, because the
      // thread ends.
      netns::EnterForGood(where);
      BecomeOnThisThread(who);
      body();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace sluice::testing_support
