// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>
#include <limits>

namespace sluice::proxy {

// A link of the wheel, a member of what is timed. Must be cancelled before it goes away.
struct TimerNode {
  TimerNode* prev = nullptr;
  TimerNode* next = nullptr;
  std::uint64_t deadline = 0;
  std::uint8_t level = 0;
  std::uint8_t slot = 0;

  bool armed() const { return next != nullptr; }
};

// A hierarchical timer wheel: arming, moving and cancelling a timer cost a few stores, nothing
// touches the kernel, and the time of the next work is known, so that a thread with nothing due
// sleeps. Time is in ticks, whose length is the caller's. Four levels of 64 slots: a timer further
// away than 2^24 ticks fires then, early; the owner looks at its clock and arms again.
// Not thread-safe.
class TimerWheel {
 public:
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  explicit TimerWheel(std::uint64_t now);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Arms `node`, or moves it. A deadline that is not in the future becomes the next tick.
  void Set(TimerNode& node, std::uint64_t deadline);
  void Cancel(TimerNode& node);

  // The tick at which Advance has something to do: never later than the earliest deadline; at most
  // three times earlier than it (to move timers down a level). kNever when no timer is armed.
  std::uint64_t NextDue() const;

  // Moves time forward and calls `expired(TimerNode&)` for each timer whose deadline has come. The
  // timer is disarmed by then; the call may arm and cancel any timer.
  template <typename Expired>
  void Advance(std::uint64_t now, Expired&& expired) {
    for (std::uint64_t due = NextDue(); due <= now; due = NextDue()) {
      TimerNode batch;
      BeginTick(due, batch);
      while (batch.next != &batch) {
        TimerNode& node = *batch.next;
        Unlink(node);
        if (node.deadline <= now_) {
          expired(node);
        } else {
          Insert(node);
        }
      }
    }
    if (now > now_) now_ = now;
  }

 private:
  static constexpr int kLevels = 4;
  static constexpr int kSlotBits = 6;
  static constexpr int kSlots = 1 << kSlotBits;

  void Insert(TimerNode& node);
  void Unlink(TimerNode& node);
  // Makes `tick` the present, moves timers down a level, and the slot of this tick to `batch`.
  void BeginTick(std::uint64_t tick, TimerNode& batch);
  void TakeSlot(int level, int slot, TimerNode& list);

  std::uint64_t now_;
  std::array<std::uint64_t, kLevels> occupied_{};  // one bit per slot
  std::array<std::array<TimerNode, kSlots>, kLevels> slots_;
};

}  // namespace sluice::proxy
