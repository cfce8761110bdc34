// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/transaction.h"

#include <fcntl.h>

#include <cstdlib>
#include <new>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sluice::capture {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Error Broken(const std::string& doing, ErrorKind kind = ErrorKind::kFailed) {
  return Error(kind, {.doing = doing, .target = {}, .why = doing + " is broken", .help = {}});
}

// A step that records its calls, and fails on request.
struct Script {
  bool differs = true;
  bool apply_fails = false;
  bool undo_fails = false;
  bool does_something = true;
  bool memory_ends = false;    // apply throws std::bad_alloc
  bool summary_fails = false;  // the last call throws something that is not an exception class
  int differs_fails_at = 0;    // the number of the call that fails
  ErrorKind kind = ErrorKind::kFailed;
};

class FakeStep : public Step {
 public:
  FakeStep(std::string name, Script script, std::vector<std::string>& log)
      : name_(std::move(name)), script_(script), log_(log) {}

  std::string Name() const override { return name_; }
  bool Differs() override {
    if (++asked_ == script_.differs_fails_at) throw Broken("look at " + name_, script_.kind);
    return script_.differs;
  }
  std::vector<std::string> Have() override { return {}; }
  std::vector<std::string> Want() override { return {}; }
  void Apply() override {
    log_.push_back("apply " + name_);
    if (script_.memory_ends) throw std::bad_alloc();
    if (script_.apply_fails) throw Broken("apply " + name_, script_.kind);
  }
  void Undo() override {
    log_.push_back("undo " + name_);
    if (script_.undo_fails) throw Broken("undo " + name_);
  }
  bool Changed() const override { return script_.does_something; }
  std::string Summary() const override {
    if (script_.summary_fails) throw 1;
    return "summary of " + name_;
  }

 private:
  std::string name_;
  Script script_;
  std::vector<std::string>& log_;
  int asked_ = 0;
};

class Transaction : public testing::Test {
 protected:
  // The lock file of iptables-legacy may be in use on this machine.
  void SetUp() override { setenv("XTABLES_LOCKFILE", "/nonexistent", 1); }

  TransactionResult Run(const std::vector<Script>& scripts) {
    std::vector<std::unique_ptr<Step>> steps;
    for (const Script& script : scripts) {
      steps.push_back(std::make_unique<FakeStep>(
          std::string(1, static_cast<char>('a' + steps.size())), script, log_));
    }
    const UniqueFd network(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    Lock lock(network.get());
    return RunTransaction(steps, lock, std::chrono::seconds(10));
  }

  // Runs a transaction that must fail, and returns the error.
  Error Fail(const std::vector<Script>& scripts) {
    try {
      Run(scripts);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "no error";
    return Broken("nothing");
  }

  std::vector<std::string> log_;
};

TEST_F(Transaction, AppliesInOrder) {
  const auto result = Run({{}, {}, {}});
  EXPECT_THAT(log_, ElementsAre("apply a", "apply b", "apply c"));
  ASSERT_EQ(result.steps.size(), 3U);
  EXPECT_TRUE(result.changed());
  EXPECT_EQ(result.steps[1].name, "b");
  EXPECT_EQ(result.steps[1].summary, "summary of b");
}

TEST_F(Transaction, LeavesAloneWhatDoesNotDiffer) {
  const auto result = Run({{.differs = false}, {}, {.differs = false}});
  EXPECT_THAT(log_, ElementsAre("apply b"));
  EXPECT_FALSE(result.steps[0].changed);
  EXPECT_TRUE(result.steps[1].changed);
}

TEST_F(Transaction, DoesNothingWhereNothingDiffers) {
  const auto result = Run({{.differs = false}, {.differs = false}});
  EXPECT_THAT(log_, ElementsAre());
  EXPECT_FALSE(result.changed());
  EXPECT_EQ(result.steps.size(), 2U);
}

TEST_F(Transaction, SaysWhenAStepHadNothingToDo) {
  EXPECT_FALSE(Run({{.does_something = false}}).changed());
}

// At every position: earlier steps are undone, last first, and the failing step's error is thrown.
TEST_F(Transaction, UndoesWhatWasAppliedWhereverItFails) {
  constexpr std::size_t kSteps = 9;  // as many as sluice-init has
  for (std::size_t failing = 0; failing < kSteps; ++failing) {
    log_.clear();
    std::vector<Script> scripts(kSteps);
    scripts[failing] = {.apply_fails = true, .kind = ErrorKind::kKernelFeature};
    const Error error = Fail(scripts);
    EXPECT_EQ(error.kind(), ErrorKind::kKernelFeature);
    const std::string name(1, static_cast<char>('a' + failing));
    EXPECT_EQ(error.text().why, "apply " + name + " is broken");
    std::vector<std::string> expected;
    for (std::size_t i = 0; i <= failing; ++i) {
      expected.push_back(std::string("apply ") + static_cast<char>('a' + i));
    }
    for (std::size_t i = failing; i-- > 0;) {
      expected.push_back(std::string("undo ") + static_cast<char>('a' + i));
    }
    EXPECT_EQ(log_, expected);
  }
}

// A program that runs out of memory must not leave half of a configuration.
TEST_F(Transaction, UndoesWhateverIsThrown) {
  const Error error = Fail({{}, {}, {.memory_ends = true}});
  EXPECT_EQ(error.text().why, "out of memory");
  EXPECT_EQ(error.kind(), ErrorKind::kFailed);
  EXPECT_THAT(log_, ElementsAre("apply a", "apply b", "apply c", "undo b", "undo a"));
  log_.clear();
  EXPECT_EQ(Fail({{}, {.summary_fails = true}}).text().why, "an unknown exception");
  EXPECT_THAT(log_, ElementsAre("apply a", "apply b", "undo b", "undo a"));
}

TEST_F(Transaction, DoesNotUndoWhatWasNotApplied) {
  Fail({{}, {.differs = false}, {.apply_fails = true}});
  EXPECT_THAT(log_, ElementsAre("apply a", "apply c", "undo a"));
}

TEST_F(Transaction, UndoesWhenTheSecondLookFails) {
  // Once before taking the lock, once after.
  const Error error = Fail({{}, {.differs_fails_at = 1}});
  EXPECT_EQ(error.text().doing, "look at b");
  EXPECT_THAT(log_, ElementsAre("apply a", "undo a"));
}

TEST_F(Transaction, SaysWhatCannotBePutBackAndGoesOnUndoing) {
  const Error error = Fail({{}, {.undo_fails = true}, {.undo_fails = true}, {.apply_fails = true}});
  EXPECT_THAT(
      log_, ElementsAre("apply a", "apply b", "apply c", "apply d", "undo c", "undo b", "undo a"));
  EXPECT_EQ(error.text().why,
            "apply d is broken - and could not put back everything: c: undo c is broken; b: undo b "
            "is broken");
  EXPECT_THAT(error.text().help, HasSubstr("--cleanup-only"));
}

}  // namespace
}  // namespace sluice::capture
