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

// Writes the access log on its own thread, so that a slow disk or a stopped reader never delays
// relayed bytes. Each worker appends the lines of a turn to its own batch; the thread collects the
// batches. Lines that do not fit into a batch, because the reader is too slow, are dropped and
// counted.
//
// The log has only whole lines: writes to a pipe, which others may share, end at the end
// of a line; and a line that did not fit onto a full disk is completed once there is
// room.
class LogWriter {
 public:
  // `path` is "-" for standard output; a file is created if missing, and appended to; a FIFO needs
  // a reader and never waits for one. Throws sluice::Error. Writes nothing before Start.
  LogWriter(const std::string& path, int workers);
  // Writes the remaining lines, for at most a second if the reader has stopped.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // Call once.
  void Start();

  // Takes whole lines from worker `index`, empties `lines`, and wakes the thread if it sleeps.
  // Thread-safe.
  void Take(int index, std::string& lines);

  // Reopens the path, for log rotation; standard output stays. Thread-safe; takes effect soon.
  void Reopen();

  // The number of dropped lines. Thread-safe.
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  struct alignas(64) Batch {
    std::mutex mutex;
    std::string lines;
  };

  void Run();
  // Returns false if there was nothing to write.
  bool CollectOnce();
  void Write(std::string_view lines);
  // Writes whole lines, unless it fails. Returns how many bytes it has written.
  std::size_t WriteSome(std::string_view lines);
  bool WaitWritable();
  void ReopenNow();
  void Wake();
  void Drop(std::string_view lines);
  // Says when writing begins to fail and when it works again. `error`: an errno, 0 for success.
  void Note(int error);

  const std::string path_;
  UniqueFd file_;
  bool regular_ = false;
  UniqueFd wake_;
  std::size_t worker_count_;
  std::unique_ptr<Batch[]> batches_;
  std::string collected_;
  std::string rest_;  // of a line that is partly in the log
  bool fails_ = false;
  std::atomic<bool> asleep_{false};
  std::atomic<bool> reopen_{false};
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> dropped_{0};
  std::thread thread_;
};

}  // namespace sluice::proxy
