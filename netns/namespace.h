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

// Which network namespace it is, whatever it was opened by: two are the same namespace exactly when
// their identities are equal (namespaces(7): device and inode number of the nsfs file).
struct NamespaceIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  // "net:[4026531840]", as readlink(1) shows /proc/PID/ns/net.
  std::string ToString() const;

  friend constexpr auto operator<=>(const NamespaceIdentity&, const NamespaceIdentity&) = default;
};

std::ostream& operator<<(std::ostream& out, const NamespaceIdentity& identity);

// A reference to a network namespace, which lives at least as long as this object. Every function
// throws sluice::Error; kPrivilege names the capability that is missing. Const members may be
// called from several threads.
class Namespace {
 public:
  // "/absolute/path", "pid:N" (the namespace that process N is in), or a name under /run/netns, as
  // `ip netns` makes them. Needs no privilege beyond reading that file. kUsage when `text` is none
  // of the three; kFailed when there is no such namespace.
  static Namespace Open(std::string_view text);

  // The one that the calling thread is in.
  static Namespace Current();

  // The one that `fd` is a descriptor of, which it owns from now on.
  static Namespace Take(UniqueFd fd);

  // A new one that has no name: it goes when the last descriptor, process and socket in it are
  // gone. The calling thread stays where it is. lo is down. Needs CAP_SYS_ADMIN.
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

// Makes the namespace /run/netns/NAME, as `ip netns add` does: visible to every tool that knows
// such names, and kept until Delete. lo is down. All or nothing; kFailed when the name is taken,
// kUsage when `name` cannot be a file name. Needs CAP_SYS_ADMIN.
Namespace Create(std::string_view name);

// Takes the name away, as `ip netns delete` does; the namespace itself goes with its last user.
// kFailed when there is none of that name. Needs CAP_SYS_ADMIN.
void Delete(std::string_view name);

// The names under /run/netns, sorted. Empty when nothing ever made one.
std::vector<std::string> List();

// The calling thread is in `target` while this lives, and back in the namespace where it was after
// that, however the scope is left. When the way back is barred the process ends (std::terminate):
// going on would configure the wrong namespace. Use on one thread, innermost guard first out.
class ScopedNamespace {
 public:
  // Needs CAP_SYS_ADMIN here and in the user namespace that owns `target`. On an exception the
  // thread is where it was.
  explicit ScopedNamespace(const Namespace& target);
  ScopedNamespace(const ScopedNamespace&) = delete;
  ScopedNamespace& operator=(const ScopedNamespace&) = delete;
  ~ScopedNamespace();

 private:
  UniqueFd previous_;
};

// Moves the calling thread into `target` for good, and before that into the user namespace that
// owns it when that is not the caller's: xt_owner refuses rules from any other
// (net/netfilter/xt_owner.c, owner_check). The kernel allows a change of user namespace only to a
// process of one thread (setns(2)), so call it before threads start. On an exception the network
// namespace is as it was.
void EnterForGood(const Namespace& target);

}  // namespace sluice::netns
