// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::testing_support {

// How accept4(2) of another program is made to fail. The program loads
// libsluice_fail_accept.so (LD_PRELOAD), which reads this through a mapping that it shares with the
// test, so that the program itself needs no code for tests.
struct AcceptFailurePlan {
  std::atomic<int> error;  // errno; 0: nothing fails
  // How many calls still fail; negative: all of them.
  std::atomic<int> left;
  // A failing call takes a connection off the queue and loses it, as with the errors of a single
  // connection (ECONNABORTED, EPROTO); otherwise the connection stays in the queue.
  std::atomic<bool> loses_connection;
  // The only thread whose calls fail; 0: the next one that calls.
  std::atomic<int> thread;
  std::atomic<std::uint64_t> failed;  // calls that were made to fail
};

// The variable that names the file with the plan, for the library.
inline constexpr const char* kAcceptFailuresVariable = "SLUICE_ACCEPT_FAILURES";

// A plan, and how it is passed to a program.
class AcceptFailures {
 public:
  // Throws sluice::Error.
  AcceptFailures();
  ~AcceptFailures();
  AcceptFailures(const AcceptFailures&) = delete;
  AcceptFailures& operator=(const AcceptFailures&) = delete;

  // For Command::environment; the program may run as any user.
  std::vector<std::string> Environment() const;

  AcceptFailurePlan& plan() { return *plan_; }

 private:
  std::string path_;
  UniqueFd file_;
  AcceptFailurePlan* plan_ = nullptr;
};

}  // namespace sluice::testing_support
