#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::testing_support {

// What accept4(2) of another program is to do instead of its work. The program loads
// libsluice_fail_accept.so (LD_PRELOAD), which reads this through a mapping that it shares with the
// test, so that the program itself has no branch for tests.
struct AcceptFailurePlan {
  std::atomic<int> error;  // errno; 0: nothing fails
  // How many calls still fail; negative: all of them.
  std::atomic<int> left;
  // A failing call takes a connection off the queue and loses it, as those errors do that are of a
  // single connection (ECONNABORTED, EPROTO); without it the connection goes on waiting.
  std::atomic<bool> loses_connection;
  // The only thread whose calls fail; 0: the next one that calls.
  std::atomic<int> thread;
  std::atomic<std::uint64_t> failed;  // calls that were made to fail
};

// The name under which the library finds the file that holds the plan.
inline constexpr const char* kAcceptFailuresVariable = "SLUICE_ACCEPT_FAILURES";

// A plan, and how a program is told of it.
class AcceptFailures {
 public:
  // Throws sluice::Error.
  AcceptFailures();
  ~AcceptFailures();
  AcceptFailures(const AcceptFailures&) = delete;
  AcceptFailures& operator=(const AcceptFailures&) = delete;

  // For Command::environment, of a program of any user.
  std::vector<std::string> Environment() const;

  AcceptFailurePlan& plan() { return *plan_; }

 private:
  std::string path_;
  UniqueFd file_;
  AcceptFailurePlan* plan_ = nullptr;
};

}  // namespace sluice::testing_support
