// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::netns {

// Identifies a network namespace, however it was opened: two are the same exactly when their
// identities are equal (namespaces(7): device and inode number of the nsfs file).
struct NamespaceIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  // "net:[4026531840]", as readlink(1) shows /proc/PID/ns/net.
  std::string ToString() const;

  friend constexpr auto operator<=>(const NamespaceIdentity&, const NamespaceIdentity&) = default;
};

std::ostream& operator<<(std::ostream& out, const NamespaceIdentity& identity);

// A reference that keeps a network namespace alive. Every function throws sluice::Error;
// kPrivilege names the missing capability. Const members may be called from several
// threads.
class Namespace {
 public:
  // Opens "/absolute/path", "pid:N" (the namespace of process N), or a name under /run/netns, as in
  // `ip netns`. Needs only the privilege to read that file. kUsage when `text` is none of the
  // three; kFailed when there is no such namespace.
  static Namespace Open(std::string_view text);

  // The calling thread's namespace.
  static Namespace Current();

  // The namespace of the descriptor `fd`, which this object now owns.
  static Namespace Take(UniqueFd fd);

  // A new namespace without a name: it disappears with the last descriptor, process and socket in
  // it. The calling thread stays in its own. lo is down. Needs CAP_SYS_ADMIN.
  static Namespace CreateAnonymous();

  // What was opened, for messages: "/run/netns/a", "pid:12", "net:[4026531840]".
  const std::string& name() const { return name_; }
  int fd() const { return fd_.get(); }
  NamespaceIdentity Identity() const;

 private:
  Namespace(std::string name, UniqueFd fd) : name_(std::move(name)), fd_(std::move(fd)) {}

  std::string name_;
  UniqueFd fd_;
};

// Creates the namespace /run/netns/NAME, as `ip netns add` does: visible to all tools that use such
// names, and kept until Delete. lo is down. All or nothing; kFailed when the name exists, kUsage
// when `name` is not a valid file name. Needs CAP_SYS_ADMIN.
Namespace Create(std::string_view name);

// Removes the name, as `ip netns delete` does; the namespace itself disappears with its last user.
// kFailed when there is no such name. Needs CAP_SYS_ADMIN.
void Delete(std::string_view name);

// The names under /run/netns, sorted. Empty when none was ever created.
std::vector<std::string> List();

// Puts the calling thread into `target` during its life, and then back into the previous namespace,
// however the scope is left. If it cannot go back, the process ends (std::terminate): otherwise it
// would configure the wrong namespace. Use on one thread, innermost guard first out.
class ScopedNamespace {
 public:
  // Needs CAP_SYS_ADMIN here and in the user namespace that owns `target`. On an exception the
  // thread is in its old namespace.
  explicit ScopedNamespace(const Namespace& target);
  ScopedNamespace(const ScopedNamespace&) = delete;
  ScopedNamespace& operator=(const ScopedNamespace&) = delete;
  ~ScopedNamespace();

 private:
  UniqueFd previous_;
};

// Moves the calling thread into `target` for good, after moving it into the owning user
// namespace if that is not the caller's: xt_owner refuses rules from any other
// (net/netfilter/xt_owner.c, owner_check). Only a single-threaded process can change its user
// namespace (setns(2)), so call this before starting threads. On an exception the network
// namespace is unchanged.
void EnterForGood(const Namespace& target);

}  // namespace sluice::netns
