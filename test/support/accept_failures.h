// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::testing_support {

// How to make another program's accept4(2) fail. The program loads libsluice_fail_accept.so
// (LD_PRELOAD), which shares this memory with the test, so that the program itself needs no code
// for tests.
struct AcceptFailurePlan {
  std::atomic<int> error;  // errno; 0: nothing fails
  // How many more calls fail; negative: all of them.
  std::atomic<int> left;
  // A failing call removes a connection from the queue and loses it, as with the errors of a single
  // connection (ECONNABORTED, EPROTO); otherwise the connection stays in the queue.
  std::atomic<bool> loses_connection;
  // The only thread whose calls fail; 0: the next thread that calls.
  std::atomic<int> thread;
  std::atomic<std::uint64_t> failed;  // number of calls that failed on purpose
};

// The environment variable with the plan's file, for the library.
inline constexpr const char* kAcceptFailuresVariable = "SLUICE_ACCEPT_FAILURES";

// A plan, and its environment for a program.
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
