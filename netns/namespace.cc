// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/namespace.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <ostream>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/parse.h"

namespace sluice::netns {
namespace {

constexpr char kDirectory[] = "/run/netns";  // the directory of ip-netns(8)
constexpr char kOwnNetwork[] = "/proc/thread-self/ns/net";
constexpr char kOwnUser[] = "/proc/thread-self/ns/user";

constexpr char kNeedsSysAdmin[] =
    "this needs CAP_SYS_ADMIN, here and in the user namespace that owns the network namespace";

Error Failure(int saved_errno, std::string doing, const std::string& target) {
  const bool privilege = saved_errno == EPERM || saved_errno == EACCES;
  return SystemError(saved_errno, std::move(doing), target, privilege ? kNeedsSysAdmin : "");
}

std::string PathOf(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > 255 ||
      name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    throw Error(ErrorKind::kUsage, {.doing = "name a network namespace",
                                    .target = std::string(name),
                                    .why = "not a name that a file can have",
                                    .help = "give a name without '/', of 1 to 255 bytes"});
  }
  return std::string(kDirectory) + "/" + std::string(name);
}

NamespaceIdentity IdentityOf(int fd, const std::string& name) {
  struct stat status = {};
  if (fstat(fd, &status) != 0) throw SystemError(errno, "look at a namespace", name);
  return {.device = status.st_dev, .inode = status.st_ino};
}

UniqueFd OpenOrThrow(const std::string& path, const std::string& target) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd) return fd;
  if (errno == ENOENT || errno == ESRCH || errno == ENOTDIR) {
    throw Error(ErrorKind::kFailed, {.doing = "open the network namespace",
                                     .target = target,
                                     .why = "there is no such network namespace",
                                     .help = "give a path, a name that `ip netns list` shows, or "
                                             "pid:N of a running process"});
  }
  throw SystemError(errno, "open the network namespace", target);
}

// Otherwise only setns(2) would find that the file is no network namespace, when other things have
// already been done.
void RequireNetworkNamespace(int fd, const std::string& target) {
  if (ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET) return;
  throw Error(ErrorKind::kFailed, {.doing = "open the network namespace",
                                   .target = target,
                                   .why = "this file is not a network namespace",
                                   .help = ""});
}

// Runs `body` on a thread of its own, so that namespace changes do not affect the caller's thread;
// rethrows its exceptions.
template <typename Body>
void OnOwnThread(Body body) {
  std::exception_ptr failure;
  std::thread([&] {
    try {
      body();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
}

void EnterNewNetwork(const std::string& target) {
  if (unshare(CLONE_NEWNET) != 0) throw Failure(errno, "create a network namespace", target);
}

// Names are bind mounts on files in this directory. It must be a shared mount point; otherwise a
// name deleted in one mount namespace would stay, busy, in another (ip-netns(8) does the same). The
// lock keeps two processes from mounting twice.
void PrepareDirectory() {
  if (mkdir(kDirectory, 0755) != 0 && errno != EEXIST) {
    throw Failure(errno, "make the directory of network namespaces", kDirectory);
  }
  const UniqueFd lock(open(kDirectory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock || flock(lock.get(), LOCK_EX) != 0) {
    throw Failure(errno, "lock the directory of network namespaces", kDirectory);
  }
  if (mount("", kDirectory, "none", MS_SHARED | MS_REC, nullptr) == 0) return;
  // EINVAL: not a mount point yet.
  if (errno != EINVAL || mount(kDirectory, kDirectory, "none", MS_BIND | MS_REC, nullptr) != 0 ||
      mount("", kDirectory, "none", MS_SHARED | MS_REC, nullptr) != 0) {
    throw Failure(errno, "make the directory of network namespaces a shared mount", kDirectory);
  }
}

void SetNamespace(int fd, int type, const std::string& target) {
  if (setns(fd, type) != 0) throw Failure(errno, "enter the network namespace", target);
}

}  // namespace

std::string NamespaceIdentity::ToString() const { return "net:[" + std::to_string(inode) + "]"; }

std::ostream& operator<<(std::ostream& out, const NamespaceIdentity& identity) {
  return out << identity.ToString();
}

Namespace Namespace::Open(std::string_view text) {
  constexpr std::string_view kPid = "pid:";
  std::string target(text);
  std::string path;
  if (text.starts_with('/')) {
    path = target;
  } else if (text.starts_with(kPid)) {
    try {
      ParseDecimal(text.substr(kPid.size()), 1, 0x7fffffff);
    } catch (const std::invalid_argument& error) {
      throw Error(ErrorKind::kUsage, {.doing = "open the network namespace",
                                      .target = target,
                                      .why = "pid: takes " + std::string(error.what()),
                                      .help = ""});
    }
    path = "/proc/" + std::string(text.substr(kPid.size())) + "/ns/net";
  } else {
    path = target = PathOf(text);
  }
  UniqueFd fd = OpenOrThrow(path, target);
  RequireNetworkNamespace(fd.get(), target);
  return {std::move(target), std::move(fd)};
}

Namespace Namespace::Current() { return Take(OpenOrThrow(kOwnNetwork, "the thread's own")); }

Namespace Namespace::Take(UniqueFd fd) {
  std::string name = IdentityOf(fd.get(), "the thread's own").ToString();
  return {std::move(name), std::move(fd)};
}

Namespace Namespace::CreateAnonymous() {
  Namespace created("", UniqueFd());
  OnOwnThread([&created] {
    EnterNewNetwork("");
    created = Current();
  });
  return created;
}

NamespaceIdentity Namespace::Identity() const { return IdentityOf(fd_.get(), name_); }

Namespace Create(std::string_view name) {
  const std::string path = PathOf(name);
  PrepareDirectory();
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  if (!file) {
    if (errno != EEXIST) throw Failure(errno, "create a network namespace", path);
    throw Error(ErrorKind::kFailed, {.doing = "create a network namespace",
                                     .target = path,
                                     .why = "the name is taken",
                                     .help = "delete it first, or choose another name"});
  }
  file.reset();
  try {
    OnOwnThread([&path] {
      EnterNewNetwork(path);
      if (mount(kOwnNetwork, path.c_str(), "none", MS_BIND, nullptr) != 0) {
        throw Failure(errno, "give a network namespace its name", path);
      }
    });
    return Namespace::Open(path);
  } catch (...) {
    umount2(path.c_str(), MNT_DETACH);
    unlink(path.c_str());
    throw;
  }
}

void Delete(std::string_view name) {
  const std::string path = PathOf(name);
  // EINVAL: no mount, left by a creation that was killed half-way; the file is still removed.
  if (umount2(path.c_str(), MNT_DETACH) != 0 && errno != EINVAL && errno != ENOENT) {
    throw Failure(errno, "delete the network namespace", path);
  }
  if (unlink(path.c_str()) == 0) return;
  if (errno != ENOENT) throw Failure(errno, "delete the network namespace", path);
  throw Error(ErrorKind::kFailed, {.doing = "delete the network namespace",
                                   .target = path,
                                   .why = "there is no such network namespace",
                                   .help = ""});
}

std::vector<std::string> List() {
  std::vector<std::string> names;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(kDirectory, failure)) {
    names.push_back(entry.path().filename());
  }
  if (failure && failure.value() != ENOENT) {
    throw Failure(failure.value(), "list the network namespaces", kDirectory);
  }
  std::ranges::sort(names);
  return names;
}

ScopedNamespace::ScopedNamespace(const Namespace& target)
    : previous_(OpenOrThrow(kOwnNetwork, "the thread's own")) {
  SetNamespace(target.fd(), CLONE_NEWNET, target.name());
}

ScopedNamespace::~ScopedNamespace() {
  if (setns(previous_.get(), CLONE_NEWNET) != 0) std::terminate();
}

void EnterForGood(const Namespace& target) {
  // EPERM: the owner is not the caller's descendant, so it cannot be entered; setns below shows
  // whether the namespace itself can be.
  const UniqueFd owner(ioctl(target.fd(), NS_GET_USERNS));
  const UniqueFd own = OpenOrThrow(kOwnUser, target.name());
  if (owner && IdentityOf(owner.get(), target.name()) != IdentityOf(own.get(), target.name())) {
    if (setns(owner.get(), CLONE_NEWUSER) != 0) {
      throw Failure(errno, "enter the user namespace that owns the network namespace",
                    target.name());
    }
  }
  SetNamespace(target.fd(), CLONE_NEWNET, target.name());
}

}  // namespace sluice::netns
