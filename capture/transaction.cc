#include "capture/transaction.h"

#include <algorithm>

#include "base/error.h"

namespace sluice::capture {
namespace {

// Undoes `applied`, last first, all of them whatever fails; the report of `cause` then names what
// could not be put back.
[[noreturn]] void RollBack(const std::vector<Step*>& applied, const Error& cause) {
  std::string left;
  for (auto step = applied.rbegin(); step != applied.rend(); ++step) {
    try {
      (*step)->Undo();
    } catch (const Error& error) {
      left += (left.empty() ? "" : "; ") + (*step)->Name() + ": " + error.text().why;
    }
  }
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
  for (const auto& step : steps) {
    bool changed = false;
    try {
      changed = step->Differs();
      if (changed) step->Apply();
    } catch (const Error& error) {
      RollBack(applied, error);
    }
    if (changed) applied.push_back(step.get());
    changed = changed && step->Changed();
    result.steps.push_back({step->Name(), changed, step->Summary()});
  }
  return result;
}

}  // namespace sluice::capture
