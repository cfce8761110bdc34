// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <initializer_list>
#include <optional>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sluice {

// Signals that are read instead of being delivered. They stay blocked in this thread, and in the
// threads that it starts, when the object is gone.
class SignalFd {
 public:
  // Throws Error.
  SignalFd(std::initializer_list<int> signals) {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : signals) ::sigaddset(&set, signal);
    fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd_) throw SystemError(errno, "wait for signals");
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }

  // Readable (POLLIN) when a signal has arrived.
  int fd() const { return fd_.get(); }
  // A signal that has arrived; does not wait.
  std::optional<int> Next() const {
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof(info)) != sizeof(info)) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  UniqueFd fd_;
};

}  // namespace sluice
