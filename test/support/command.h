// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "base/unique_fd.h"
#include "netns/namespace.h"
#include "test/support/in_namespace.h"

namespace sluice::testing_support {

// A program to run. No shell is involved.
struct Command {
  std::vector<std::string> argv;              // argv[0] without '/' is looked up in PATH
  std::vector<std::string> environment = {};  // "NAME=value"; only PATH is inherited
  std::string input = {};                     // its standard input
  Credentials who = kRoot;
  // Its capabilities, such as CAP_NET_ADMIN of <linux/capability.h>, for any uid. If not set, root
  // has all and other users have none.
  std::optional<std::vector<int>> capabilities = {};
  // With capabilities: starts it as Kubernetes starts a non-root user, with no_new_privs and
  // without the ambient set. Capabilities that its file lacks are lost.
  bool only_by_its_file = false;
  // It is killed, with its process group, if it takes longer.
  std::chrono::milliseconds timeout{60'000};
  std::optional<std::size_t> open_files = {};  // RLIMIT_NOFILE
  std::string cgroup_procs = {};               // the file of the cgroup to start in
};

struct CommandResult {
  int exit_status = 0;  // 128 + N when signal N ended it, as in a shell
  bool timed_out = false;
  std::string out;
  std::string err;
  std::chrono::microseconds wall{};
  std::chrono::microseconds cpu{};  // user and system
};

// A program that runs in parallel with the test. It is killed, with its process group, when this is
// destroyed or the test ends for any reason. Start it on a thread that lives as long (the test's
// main thread), because the kernel kills it with that thread (PR_SET_PDEATHSIG).
class Process {
 public:
  // Returns when the program runs in the namespace. Throws sluice::Error if it cannot be started at
  // all; a program that does not exist or is not executable ends with 127, and the reason is in
  // err.
  Process(const netns::Namespace& where, const Command& command);
  Process(Process&&) noexcept;
  Process& operator=(Process&&) = delete;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  pid_t pid() const { return pid_; }
  bool Running() const;
  void Signal(int signal) const;

  // Its output so far.
  std::string Out() const;
  std::string Err() const;
  // Whether `text` appears in standard output or standard error within `limit`.
  bool WaitForText(std::string_view text, std::chrono::milliseconds limit) const;

  // Waits for its end, and kills it after `limit`. A second call throws
  // std::logic_error.
  CommandResult Wait(std::chrono::milliseconds limit);

 private:
  UniqueFd out_;
  UniqueFd err_;
  UniqueFd pidfd_;
  pid_t pid_ = -1;  // -1 after it was waited for
  std::chrono::steady_clock::time_point started_;
};

// Runs a program to its end.
CommandResult RunCommand(const netns::Namespace& where, const Command& command);

// `command` after `mounts`, lines of sh(1), in its own mount namespace: network namespaces share
// all files with the machine. Command::capabilities must not be set.
Command WithMounts(Command command, const std::string& mounts);
// With `file` as its /etc/resolv.conf.
Command WithResolvConf(Command command, const std::string& file);

// The path of a Sluice program: in $SLUICE_BIN_DIR or in the build's bin directory.
std::string ProgramPath(std::string_view name);

// sluice-proxy for builds with a sanitizer: without its system call filter. Otherwise unchanged.
Command WithSanitizer(Command command);

// `command`, a run of sluice-init or sluice-cni, with `library`, from the programs' directory,
// loaded before all others.
Command WithPreload(Command command, std::string_view library);

// The output of iptables-legacy-save or ip6tables-legacy-save, without comments and counters: equal
// texts mean equal rules. Empty if no table was ever used in that namespace.
std::string SavedRules(const netns::Namespace& where, Family family);

}  // namespace sluice::testing_support
