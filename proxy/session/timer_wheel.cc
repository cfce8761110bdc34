// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/session/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace sluice::proxy {
namespace {

// The level of a node that is in a batch and in no slot.
constexpr std::uint8_t kNoLevel = 0xff;

void MakeEmpty(TimerNode& head) { head.prev = head.next = &head; }

}  // namespace

TimerWheel::TimerWheel(std::uint64_t now) : now_(now) {
  for (auto& level : slots_) {
    for (TimerNode& head : level) MakeEmpty(head);
  }
}

void TimerWheel::Set(TimerNode& node, std::uint64_t deadline) {
  if (node.armed()) Unlink(node);
  constexpr std::uint64_t kHorizon = (std::uint64_t{1} << (kSlotBits * kLevels)) - 1;
  node.deadline = std::clamp(deadline, now_ + 1, now_ + kHorizon);
  Insert(node);
}

void TimerWheel::Cancel(TimerNode& node) {
  if (node.armed()) Unlink(node);
}

void TimerWheel::Insert(TimerNode& node) {
  const std::uint64_t distance = node.deadline - now_;
  const int level = (static_cast<int>(std::bit_width(distance)) - 1) / kSlotBits;
  const auto slot = static_cast<int>((node.deadline >> (kSlotBits * level)) % kSlots);
  node.level = static_cast<std::uint8_t>(level);
  node.slot = static_cast<std::uint8_t>(slot);
  auto& head = slots_[static_cast<std::size_t>(level)][static_cast<std::size_t>(slot)];
  node.prev = head.prev;
  node.next = &head;
  head.prev->next = &node;
  head.prev = &node;
  occupied_[static_cast<std::size_t>(level)] |= std::uint64_t{1} << slot;
}

void TimerWheel::Unlink(TimerNode& node) {
  node.prev->next = node.next;
  node.next->prev = node.prev;
  // Both neighbours are the head: the slot is empty now.
  if (node.prev == node.next && node.level != kNoLevel) {
    occupied_[node.level] &= ~(std::uint64_t{1} << node.slot);
  }
  node.prev = node.next = nullptr;
}

std::uint64_t TimerWheel::NextDue() const {
  std::uint64_t due = kNever;
  for (int level = 0; level < kLevels; ++level) {
    const std::uint64_t bits = occupied_[static_cast<std::size_t>(level)];
    if (bits == 0) continue;
    const int shift = kSlotBits * level;
    // Slots are looked at from the one after the present, once around.
    const std::uint64_t first = (now_ >> shift) + 1;
    const int steps = std::countr_zero(std::rotr(bits, static_cast<int>(first % kSlots)));
    due = std::min(due, (first + static_cast<std::uint64_t>(steps)) << shift);
  }
  return due;
}

void TimerWheel::TakeSlot(int level, int slot, TimerNode& list) {
  auto& head = slots_[static_cast<std::size_t>(level)][static_cast<std::size_t>(slot)];
  occupied_[static_cast<std::size_t>(level)] &= ~(std::uint64_t{1} << slot);
  MakeEmpty(list);
  if (head.next == &head) return;
  list.next = head.next;
  list.prev = head.prev;
  list.next->prev = list.prev->next = &list;
  MakeEmpty(head);
  for (TimerNode* node = list.next; node != &list; node = node->next) node->level = kNoLevel;
}

void TimerWheel::BeginTick(std::uint64_t tick, TimerNode& batch) {
  now_ = tick;
  for (int level = kLevels - 1; level > 0; --level) {
    const int shift = kSlotBits * level;
    if (tick % (std::uint64_t{1} << shift) != 0) continue;
    TimerNode list;
    TakeSlot(level, static_cast<int>((tick >> shift) % kSlots), list);
    while (list.next != &list) {
      TimerNode& node = *list.next;
      Unlink(node);
      if (node.deadline <= now_) node.deadline = now_ + 1;  // due now: the next tick has it
      Insert(node);
    }
  }
  TakeSlot(0, static_cast<int>(tick % kSlots), batch);
}

}  // namespace sluice::proxy
