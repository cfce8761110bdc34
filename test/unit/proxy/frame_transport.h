// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "proxy/relay/transport.h"

namespace sluice::proxy {

// A protocol with all the difficulties of TLS. Bytes are sent in frames, changed; before the first
// frame both sides say hello, one of them first. A frame costs the writer a credit, so that a write
// may wait for input; the reader grants the next credit before it returns the frame, so that a read
// may wait for room. Each call may read whatever has come, takes in more than it returns, and
// sometimes gives up. The stream ends with a frame; after it the other side has unlimited credit,
// because no more is granted.
//
//   H hello   D length bytes   C credit   E end   N nothing, as an empty record
class FrameTransport : public Transport {
 public:
  struct Habits {
    unsigned seed = 1;
    bool opens = false;  // says hello first
    int credits = 3;
    std::size_t frame_bytes = 200;  // at most; up to 255
    bool moody = true;              // random sizes, and kAgain without a reason
    // Called now and then within a call: the peer does not wait for the end of a turn.
    std::function<void()> meanwhile = nullptr;
  };
  // Counts what happened, to verify that a test covers it.
  struct Seen {
    int read_waited_for_room = 0;
    int write_waited_for_input = 0;
    int write_waited_for_room = 0;
    int write_took_others_input = 0;  // read from the socket what Read must return
    int gave_up = 0;                  // although it had input
  };

  FrameTransport(int fd, Habits habits) : fd_(fd), habits_(habits), random_(habits.seed) {
    credits_ = habits.credits;
    if (habits.opens) SayHello();
  }

  Result Read(std::span<char> into) override {
    Result result;
    Meanwhile();
    if (GivesUp(result)) return result;
    for (int i = 0; i < kStepsPerCall; ++i) {
      // After its own end it grants no credit.
      if (!plain_.empty() && !said_end_) out_.append(std::exchange(owed_, 0), 'C');
      // If neither side read meanwhile, both would wait for room forever.
      if (!Send(result)) {
        if (result.status == Status::kWaitsForRoom) {
          ++seen.read_waited_for_room;
          Result drained;
          while (Receive(drained)) result.took_input = true;
          return result;
        }
        out_.clear();  // nobody receives it, but input is still returned
        result = {.took_input = result.took_input};
      }
      if (!plain_.empty()) {
        result.bytes = std::min({into.size(), plain_.size(), Some(habits_.frame_bytes)});
        std::copy_n(plain_.begin(), result.bytes, into.begin());
        plain_.erase(0, result.bytes);
        return result;
      }
      if (got_end_) {
        result.status = Status::kEnded;
        return result;
      }
      if (!Decode() && !Receive(result)) return result;
    }
    result.status = Status::kAgain;
    return result;
  }

  Result Write(std::span<const char> from) override {
    Result result;
    Meanwhile();
    EXPECT_FALSE(from.empty());
    EXPECT_FALSE(said_end_);
    EXPECT_GE(from.size(), taken_.size());
    EXPECT_TRUE(std::ranges::equal(from.first(taken_.size()), taken_)) << "not the same bytes";
    if (GivesUp(result)) return result;
    if (taken_.empty()) {
      if (!AwaitCredit(result)) return result;
      if (!got_end_) --credits_;
      const std::size_t size = std::min(from.size(), Some(habits_.frame_bytes));
      if (habits_.moody && Chance(4)) out_ += 'N';
      out_ += 'D';
      out_ += static_cast<char>(size);
      for (const char byte : from.first(size)) out_ += static_cast<char>(byte ^ kMask);
      taken_.assign(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(size));
      before_frame_end_ = out_.size();
    }
    Send(result);
    // Also count what a Read has sent meanwhile.
    if (before_frame_end_ > 0) {
      if (result.status == Status::kWaitsForRoom) ++seen.write_waited_for_room;
      return result;
    }
    result.status = Status::kDone;
    result.bytes = std::exchange(taken_, {}).size();
    return result;
  }

  Result Shutdown() override {
    Result result;
    EXPECT_TRUE(taken_.empty()) << "the last write was not over";
    if (!said_end_) {
      if (!Send(result)) return result;
      while (!got_hello_) {
        if (!Decode() && !Receive(result)) return result;
      }
      out_ += 'E';
      said_end_ = true;
    }
    Send(result);
    return result;
  }

  // Sends part of a frame; the rest never comes.
  void SendHalfAFrame() { ASSERT_EQ(::send(fd_, "D\x40half", 6, MSG_NOSIGNAL), 6); }

  Seen seen;

 private:
  static constexpr char kMask = 0x55;
  static constexpr int kStepsPerCall = 8;

  bool Chance(unsigned one_in) { return random_() % one_in == 0; }
  std::size_t Some(std::size_t most) { return habits_.moody ? 1 + random_() % most : most; }
  void Meanwhile() {
    if (habits_.meanwhile && Chance(3)) habits_.meanwhile();
  }
  bool GivesUp(Result& result) {
    if (!habits_.moody || !Chance(8)) return false;
    if (!in_.empty() || !plain_.empty()) ++seen.gave_up;
    result.status = Status::kAgain;
    return true;
  }
  void SayHello() {
    if (!std::exchange(said_hello_, true)) out_ += 'H';
  }

  // Sends all pending bytes; otherwise says why not.
  bool Send(Result& result) {
    while (!out_.empty()) {
      const ssize_t sent = ::send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) {
        result.status = errno == EAGAIN ? Status::kWaitsForRoom : Status::kFailed;
        result.error = errno;
        return false;
      }
      out_.erase(0, static_cast<std::size_t>(sent));
      before_frame_end_ -= std::min(before_frame_end_, static_cast<std::size_t>(sent));
    }
    return true;
  }
  // Reads from the socket; otherwise says why not.
  bool Receive(Result& result) {
    char buffer[4096];
    const std::size_t wanted = habits_.moody ? Some(1500) : sizeof(buffer);
    const ssize_t got = ::recv(fd_, buffer, wanted, MSG_DONTWAIT);
    if (got > 0) {
      in_.append(buffer, static_cast<std::size_t>(got));
      result.took_input = true;
      return true;
    }
    const bool drained = got < 0 && errno == EAGAIN;
    result.status = drained ? Status::kWaitsForInput : Status::kFailed;
    result.error = got == 0 ? ECONNRESET : errno;
    return false;
  }
  // Decodes one frame; false if none is complete.
  bool Decode() {
    if (in_.empty()) return false;
    std::size_t size = 1;
    switch (in_[0]) {
      case 'H':
        got_hello_ = true;
        SayHello();
        break;
      case 'C':
        ++credits_;
        break;
      case 'N':
        break;
      case 'E':
        got_end_ = true;
        break;
      case 'D':
        size = in_.size() < 2 ? 2 : 2 + std::size_t{static_cast<unsigned char>(in_[1])};
        if (in_.size() < size) return false;
        for (std::size_t i = 2; i < size; ++i) plain_ += static_cast<char>(in_[i] ^ kMask);
        ++owed_;
        break;
      default:
        ADD_FAILURE() << "not a frame";
        break;
    }
    in_.erase(0, size);
    return true;
  }
  bool AwaitCredit(Result& result) {
    while (!got_hello_ || (credits_ == 0 && !got_end_)) {
      const std::size_t plain = plain_.size();
      if (Decode()) {
        if (plain_.size() > plain) ++seen.write_took_others_input;
      } else if (!Receive(result)) {
        if (result.status == Status::kWaitsForInput) ++seen.write_waited_for_input;
        // The hello, or credit for which the peer waits.
        if (!out_.empty() && result.status == Status::kWaitsForInput) {
          Result sent;
          if (!Send(sent)) result.status = sent.status;
        }
        return false;
      }
    }
    return true;
  }

  const int fd_;
  const Habits habits_;
  std::minstd_rand random_;
  std::string in_;     // as received
  std::string plain_;  // decoded
  std::string out_;    // to be sent
  std::string taken_;  // the bytes that Write has accepted, and how far the end of their frame is
  std::size_t before_frame_end_ = 0;
  int credits_ = 0;
  std::size_t owed_ = 0;  // to the peer, for frames not returned yet
  bool said_hello_ = false;
  bool got_hello_ = false;
  bool said_end_ = false;
  bool got_end_ = false;
};

}  // namespace sluice::proxy
