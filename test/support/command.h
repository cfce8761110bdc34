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
  std::vector<std::string> argv;              // argv[0] without '/' is looked for in PATH
  std::vector<std::string> environment = {};  // "NAME=value"; nothing but PATH is inherited
  std::string input = {};                     // what it reads from standard input
  Credentials who = kRoot;
  // Its capabilities, such as CAP_NET_ADMIN of <linux/capability.h>, whatever its uid.
  // Without a value, root has all and other users have none.
  std::optional<std::vector<int>> capabilities = {};
  // With capabilities: it is started as Kubernetes starts who is not root, with no_new_privs and
  // without the ambient set. What its file does not have is lost.
  bool only_by_its_file = false;
  // It is killed, with its process group, when it takes longer.
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
// destroyed and when the test ends for any reason. Start it on a thread that lives as long (the
// test's main thread), because the kernel kills it with that thread (PR_SET_PDEATHSIG).
class Process {
 public:
  // Throws sluice::Error when it cannot be started at all; a program that does not exist or must
  // not be executed ends with 127, and the reason is in err.
  Process(const netns::Namespace& where, const Command& command);
  Process(Process&&) noexcept;
  Process& operator=(Process&&) = delete;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  pid_t pid() const { return pid_; }
  bool Running() const;
  void Signal(int signal) const;

  // What it has written so far.
  std::string Out() const;
  std::string Err() const;
  // Whether `text` appears in standard output or standard error within `limit`.
  bool WaitForText(std::string_view text, std::chrono::milliseconds limit) const;

  // Waits for its end, and kills it when that takes longer than `limit`. A second call throws
  // std::logic_error.
  CommandResult Wait(std::chrono::milliseconds limit);

 private:
  UniqueFd out_;
  UniqueFd err_;
  UniqueFd pidfd_;
  pid_t pid_ = -1;  // -1 once its end was waited for
  std::chrono::steady_clock::time_point started_;
};

// Runs a program to its end.
CommandResult RunCommand(const netns::Namespace& where, const Command& command);

// `command` after `mounts`, lines of sh(1), in its own mount namespace: network namespaces share
// all files with the machine. Command::capabilities must not be set.
Command WithMounts(Command command, const std::string& mounts);
// With `file` as its /etc/resolv.conf.
Command WithResolvConf(Command command, const std::string& file);

// The path of one of Sluice's programs: in $SLUICE_BIN_DIR or in the build's bin directory.
std::string ProgramPath(std::string_view name);

// sluice-proxy as a sanitizer lets it run: without its system call filter. The same without one.
Command WithSanitizer(Command command);

// `command` with `library`, from the directory of the programs, loaded before all others.
Command WithPreload(Command command, std::string_view library);

// What iptables-legacy-save or ip6tables-legacy-save prints, without comments and counters: equal
// texts are equal rules. Empty when no table was ever used in that namespace.
std::string SavedRules(const netns::Namespace& where, Family family);

}  // namespace sluice::testing_support
