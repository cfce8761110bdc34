// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice {

// The kind of failure. Its value is the exit code of the program.
enum class ErrorKind {
  kFailed = 1,         // something went wrong; changes were rolled back
  kUsage = 2,          // the command line, the environment or a configuration file is wrong
  kPrivilege = 3,      // a capability or a user id is missing
  kKernelFeature = 4,  // the kernel lacks a table, a match or a protocol family
  kLocked = 5,         // another process holds the lock
  kInvalid = 126,      // validation: traffic does not go where the configuration says
};

// The parts of a report, for the user to act on. `doing` and `why` are never empty.
struct ErrorText {
  std::string doing;   // what was being done: "commit the nat table (IPv4)"
  std::string target;  // on what: "network namespace /run/netns/a"; may be empty
  std::string why;     // why it failed: "Operation not permitted"
  std::string help;    // what to do about it; may be empty
};

// How set-up code reports failure. Caught once, in main, where kind() becomes the exit code;
// the relay's data path uses std::error_code instead.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, ErrorText text);

  ErrorKind kind() const { return kind_; }
  const ErrorText& text() const { return text_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
  ErrorText text_;
};

// The name of `kind` in reports: "failed", "usage", "privilege", "kernel-feature", "locked",
// "invalid". Stable: machines read it.
std::string_view Name(ErrorKind kind);

// An Error for a system call that failed with `saved_errno`: kPrivilege for EPERM and EACCES,
// otherwise kFailed. System calls use no other translation of errno.
Error SystemError(int saved_errno, std::string doing, std::string target = {},
                  std::string help = {});

}  // namespace sluice
