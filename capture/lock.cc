// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "base/error.h"

namespace sluice::capture {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kNamespacePath = "/proc/thread-self/ns/net";  // its name in messages
constexpr const char* kXtablesLock = "/run/xtables.lock";           // iptables' XT_LOCK_NAME

// How often to retry while the lock is held. A commit takes about a millisecond.
constexpr std::chrono::milliseconds kRetry{2};

// Who holds an flock on `file`, from /proc/locks: lines such as
// "1: FLOCK  ADVISORY  WRITE 5079 00:04:4026531833 0 EOF".
std::optional<long> Holder(int file) {
  struct stat status {};
  if (fstat(file, &status) != 0) return {};
  const std::string inode = ":" + std::to_string(status.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, where;
    long pid = 0;
    words >> number >> kind >> mode >> access >> pid >> where;
    if (kind == "FLOCK" && where.ends_with(inode) && pid > 0) return pid;
  }
  return {};
}

std::string NameOf(long pid) {
  std::string name;
  std::ifstream comm("/proc/" + std::to_string(pid) + "/comm");
  std::getline(comm, name);
  return name;
}

// The file that iptables-legacy locks.
std::string XtablesLock() {
  const char* const configured = std::getenv("XTABLES_LOCKFILE");
  return configured != nullptr && *configured != '\0' ? configured : kXtablesLock;
}

Error Timeout(int file, const std::string& path, std::chrono::milliseconds wait) {
  std::string why = "held by somebody else for more than " + std::to_string(wait.count()) + " ms";
  if (const auto pid = Holder(file)) {
    why += ", by process " + std::to_string(*pid);
    if (const std::string name = NameOf(*pid); !name.empty()) why += " (" + name + ")";
  }
  return Error(ErrorKind::kLocked,
               {.doing = "lock the network namespace's rules",
                .target = path,
                .why = why,
                .help = "wait for it to end, or give --wait DURATION more time"});
}

void LockFile(int file, const std::string& path, Clock::time_point deadline,
              std::chrono::milliseconds wait) {
  while (flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      throw SystemError(errno, "lock the network namespace's rules", path);
    }
    if (Clock::now() >= deadline) throw Timeout(file, path, wait);
    const timespec pause{0, std::chrono::nanoseconds(kRetry).count()};
    nanosleep(&pause, nullptr);
  }
}

// iptables-legacy locks a regular file that it creates. Users choose a device such as /dev/null to
// have no such file; anything else is a mistake.
void RequireLockFile(int file, const std::string& path) {
  struct stat status {};
  if (fstat(file, &status) != 0) {
    throw SystemError(errno, "lock the network namespace's rules", path);
  }
  if (S_ISREG(status.st_mode) || S_ISCHR(status.st_mode)) return;
  throw Error(ErrorKind::kFailed, {.doing = "lock the network namespace's rules",
                                   .target = path,
                                   .why = "it is not a regular file",
                                   .help = "let XTABLES_LOCKFILE name the lock file of iptables"});
}

}  // namespace

Lock::~Lock() {
  // Unlocks explicitly: the caller may keep the descriptor open.
  if (held_) flock(network_, LOCK_UN);
}

void Lock::Acquire(std::chrono::milliseconds wait) {
  const auto deadline = Clock::now() + wait;
  LockFile(network_, kNamespacePath, deadline, wait);
  held_ = true;
  if (without_iptables_) return;

  // Only if it exists: without it no legacy tool has run in this file system, and Sluice does not
  // create it. If it cannot be opened, that is no error: it may belong to another user.
  const std::string path = XtablesLock();
  // If it is a FIFO, do not wait for a writer.
  xtables_.reset(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!xtables_) return;
  try {
    RequireLockFile(xtables_.get(), path);
    LockFile(xtables_.get(), path, deadline, wait);
  } catch (...) {
    flock(network_, LOCK_UN);
    held_ = false;
    throw;
  }
}

void Lock::LetIptablesGo() {
  without_iptables_ = true;
  xtables_.reset();
}

std::vector<LockHolder> FindLockHolders(int network) {
  std::vector<LockHolder> out;
  const auto look = [&out](int file, const std::string& lock) {
    const auto pid = Holder(file);
    if (pid && *pid != getpid()) out.push_back({.lock = lock, .pid = *pid, .name = NameOf(*pid)});
  };
  look(network, "the network namespace");
  const std::string path = XtablesLock();
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file) look(file.get(), path);
  return out;
}

bool Lock::Try() {
  try {
    Acquire(std::chrono::milliseconds(0));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kLocked) throw;
  }
  return held_;
}

}  // namespace sluice::capture
