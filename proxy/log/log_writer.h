// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::proxy {

// Writes the access log on a thread of its own, so that a slow disk or a stopped reader never holds
// up a byte that is relayed. Each worker hands over the lines of a turn to a batch of its own; the
// thread collects them. What does not fit into a batch, because the reader is too slow, is dropped
// and counted.
//
// What is in the log are whole lines: a pipe, which others may write to as well, gets them in
// pieces that end with one; and what of a line did not fit onto a full disk is written once there
// is room.
class LogWriter {
 public:
  // `path` is "-" for standard output; a file is made when missing and appended to, a FIFO needs a
  // reader. Never waits for one. Throws sluice::Error. Nothing is written before Start.
  LogWriter(const std::string& path, int workers);
  // Writes what is there, for at most a second when the reader has stopped.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // Once.
  void Start();

  // Takes whole lines over from worker `index`, leaves `lines` empty, and wakes the thread when it
  // sleeps. Thread-safe.
  void Take(int index, std::string& lines);

  // Opens the path again, for log rotation; standard output stays. Thread-safe; takes effect soon.
  void Reopen();

  // Lines that were dropped. Thread-safe.
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  struct alignas(64) Batch {
    std::mutex mutex;
    std::string lines;
  };

  void Run();
  // Returns false when there was nothing to write.
  bool CollectOnce();
  void Write(std::string_view lines);
  // Writes whole lines, except for a failure. Returns how many bytes it has written.
  std::size_t WriteSome(std::string_view lines);
  bool WaitWritable();
  void ReopenNow();
  void Wake();
  void Drop(std::string_view lines);

  const std::string path_;
  UniqueFd file_;
  bool regular_ = false;
  UniqueFd wake_;
  std::size_t worker_count_;
  std::unique_ptr<Batch[]> batches_;
  std::string collected_;
  std::string rest_;  // of a line whose beginning is in the log
  std::atomic<bool> asleep_{false};
  std::atomic<bool> reopen_{false};
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> dropped_{0};
  std::thread thread_;
};

}  // namespace sluice::proxy
