// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/transaction.h"

#include <algorithm>
#include <exception>
#include <new>

#include "base/error.h"

namespace sluice::capture {
namespace {

// Converts the current exception, of any type, to an Error. Call in a handler.
Error Caught() {
  const auto other = [](const char* why) {
    return Error(ErrorKind::kFailed,
                 {.doing = "apply the configuration", .target = {}, .why = why, .help = {}});
  };
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return other("out of memory");
  } catch (const std::exception& error) {
    return other(error.what());
  } catch (...) {
    return other("an unknown exception");
  }
}

// Undoes `applied`, last first, going on after failures. Call in a handler; the exception it throws
// also names what could not be put back.
[[noreturn]] void RollBack(const std::vector<Step*>& applied) {
  std::string left;
  for (auto step = applied.rbegin(); step != applied.rend(); ++step) {
    try {
      (*step)->Undo();
    } catch (...) {
      try {
        left += (left.empty() ? "" : "; ") + (*step)->Name() + ": " + Caught().text().why;
      } catch (...) {
        continue;  // no memory for the message; still undo the others
      }
    }
  }
  const Error cause = Caught();
  ErrorText text = cause.text();
  if (!left.empty()) {
    text.why += " - and could not put back everything: " + left;
    text.help += std::string(text.help.empty() ? "" : "; ") + "run again, or with --cleanup-only";
  }
  throw Error(cause.kind(), std::move(text));
}

}  // namespace

bool TransactionResult::changed() const { return std::ranges::any_of(steps, &StepResult::changed); }

TransactionResult RunTransaction(const std::vector<std::unique_ptr<Step>>& steps, Lock& lock,
                                 std::chrono::milliseconds lock_wait) {
  TransactionResult result;
  if (!lock.held()) {
    const auto differs = [](const std::unique_ptr<Step>& step) { return step->Differs(); };
    if (std::ranges::none_of(steps, differs)) {
      for (const auto& step : steps) result.steps.push_back({step->Name(), false, step->Summary()});
      return result;
    }
    lock.Acquire(lock_wait);
    for (const auto& step : steps) step->Forget();
  }
  std::vector<Step*> applied;
  applied.reserve(steps.size());  // so that recording an applied step cannot fail
  try {
    for (const auto& step : steps) {
      bool changed = step->Differs();
      if (changed) {
        step->Apply();
        applied.push_back(step.get());
      }
      changed = changed && step->Changed();
      result.steps.push_back({step->Name(), changed, step->Summary()});
    }
  } catch (...) {
    RollBack(applied);
  }
  return result;
}

}  // namespace sluice::capture
