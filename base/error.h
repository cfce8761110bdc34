// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice {

// What kind of failure it is. The value is the exit code of the program that ends with it.
enum class ErrorKind {
  kFailed = 1,         // something went wrong; what had been changed was put back
  kUsage = 2,          // the command line, the environment or a configuration file is wrong
  kPrivilege = 3,      // a capability or a user id is missing
  kKernelFeature = 4,  // the kernel lacks a table, a match or a protocol family
  kLocked = 5,         // somebody else holds the lock
  kInvalid = 126,      // validation: traffic does not go where the configuration says
};

// The parts of a report that a user can act on. `doing` and `why` are never empty.
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

// "nat table missing" -> the name that reports use for `kind`: "failed", "usage", "privilege",
// "kernel-feature", "locked", "invalid". Stable: machines read it.
std::string_view Name(ErrorKind kind);

// An Error of kind kFailed for a system call that left `saved_errno`; EPERM and EACCES make it
// kPrivilege. The one translator of errno for system calls.
Error SystemError(int saved_errno, std::string doing, std::string target = {},
                  std::string help = {});

}  // namespace sluice
