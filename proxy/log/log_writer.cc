// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/log/log_writer.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <spdlog/spdlog.h>

#include "base/error.h"

namespace sluice::proxy {
namespace {

// The limit of a worker's waiting lines: about 2,000 connections. Further lines are dropped.
constexpr std::size_t kMaxBatchBytes = 1024 * 1024;

// The writer wakes at most this often: still immediate for people, and twelve thousand short
// connections a second cost fifty wake-ups, not twelve thousand.
constexpr std::chrono::milliseconds kPause{20};

// How long the end of the process waits for a reader that has stopped.
constexpr std::chrono::milliseconds kLastWrite{1000};

UniqueFd OpenLog(const std::string& path) {
  if (path == "-") return UniqueFd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
  // Without O_NONBLOCK, opening a FIFO without a reader would block, here with signals
  // blocked.
  return UniqueFd(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644));
}

// How much to write to a pipe at once: whole lines that fit into one write without blocking. A
// longer line is written in pieces.
std::size_t PieceForPipe(std::string_view lines) {
  if (lines.size() <= PIPE_BUF) return lines.size();
  const std::size_t end = lines.substr(0, PIPE_BUF).rfind('\n');
  return end == std::string_view::npos ? PIPE_BUF : end + 1;
}

bool IsRegular(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

LogWriter::LogWriter(const std::string& path, int workers)
    : path_(path),
      file_(OpenLog(path)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      worker_count_(static_cast<std::size_t>(workers)),
      batches_(new Batch[worker_count_]) {
  if (!file_) {
    throw SystemError(errno, "open the access log", path,
                      errno == ENXIO ? "nobody reads this FIFO: start its reader first" : "");
  }
  if (!wake_) throw SystemError(errno, "make an eventfd");
  regular_ = IsRegular(file_.get());
}

void LogWriter::Start() {
  thread_ = std::thread([this] { Run(); });
}

LogWriter::~LogWriter() {
  stop_.store(true);
  Wake();
  if (thread_.joinable()) thread_.join();
}

void LogWriter::Take(int index, std::string& lines) {
  Batch& batch = batches_[static_cast<std::size_t>(index)];
  {
    const std::scoped_lock lock(batch.mutex);
    const std::size_t room = kMaxBatchBytes - batch.lines.size();
    if (lines.size() > room) {
      // Up to the end of the last line that fits.
      const std::size_t end = std::string_view(lines).substr(0, room).rfind('\n') + 1;
      Drop(std::string_view(lines).substr(end));
      lines.resize(end);
    }
    if (batch.lines.empty()) {
      batch.lines.swap(lines);  // reuses the memory, too
    } else {
      batch.lines += lines;
    }
  }
  lines.clear();
  if (asleep_.load() && asleep_.exchange(false)) Wake();
}

void LogWriter::Drop(std::string_view lines) {
  const auto lost = std::ranges::count(lines, '\n');
  dropped_.fetch_add(static_cast<std::uint64_t>(lost), std::memory_order_relaxed);
}

void LogWriter::Note(int error) {
  const bool fails = error != 0;
  if (fails == fails_) return;
  fails_ = fails;
  const std::string where = path_ == "-" ? "standard output" : path_;
  if (fails) {
    spdlog::warn(
        "cannot write the access log ({}): {}; until that works again its lines are lost, and "
        "counted in sluice_access_log_dropped_total",
        where, std::strerror(error));
  } else {
    spdlog::info("the access log ({}) is written again; {} lines were lost so far", where,
                 dropped());
  }
}

void LogWriter::Reopen() {
  reopen_.store(true);
  Wake();
}

void LogWriter::Wake() {
  const std::uint64_t one = 1;
  // Cannot fail: the counter of an eventfd holds 2^64 - 2 wake-ups.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

void LogWriter::Run() {
  while (!stop_.load()) {
    if (reopen_.exchange(false)) ReopenNow();
    // Set before the last check, so that a line appended after it wakes us.
    asleep_.store(true);
    if (!CollectOnce()) {
      pollfd wait{.fd = wake_.get(), .events = POLLIN, .revents = 0};
      ::poll(&wait, 1, -1);
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof(count));
    }
    asleep_.store(false);
    if (!stop_.load() && !reopen_.load()) std::this_thread::sleep_for(kPause);
  }
  CollectOnce();
  Write({});  // the rest of a line
}

bool LogWriter::CollectOnce() {
  bool any = false;
  for (std::size_t i = 0; i < worker_count_; ++i) {
    collected_.clear();
    {
      const std::scoped_lock lock(batches_[i].mutex);
      collected_.swap(batches_[i].lines);
    }
    if (collected_.empty()) continue;
    any = true;
    Write(collected_);
  }
  return any;
}

bool LogWriter::WaitWritable() {
  // A pipe that polls writable takes PIPE_BUF bytes without blocking. Between writes, check whether
  // the process wants to end.
  const auto give_up = std::chrono::steady_clock::now() + kLastWrite;
  while (true) {
    pollfd wait{.fd = file_.get(), .events = POLLOUT, .revents = 0};
    if (::poll(&wait, 1, 100) > 0) return true;
    if (stop_.load() && std::chrono::steady_clock::now() > give_up) return false;
  }
}

void LogWriter::Write(std::string_view lines) {
  // First complete a line that was cut off.
  if (!rest_.empty()) {
    rest_.erase(0, WriteSome(rest_));
    if (!rest_.empty()) return Drop(lines);
  }
  const std::size_t done = WriteSome(lines);
  if (done == lines.size()) return;
  // The disk is full or the reader is gone: count it, and try again with the next batch.
  const bool is_cut = done > 0 && lines[done - 1] != '\n';
  lines.remove_prefix(done);
  if (is_cut) {
    rest_ = lines.substr(0, lines.find('\n') + 1);
    lines.remove_prefix(rest_.size());
  }
  Drop(lines);
}

std::size_t LogWriter::WriteSome(std::string_view lines) {
  std::size_t done = 0;
  while (done < lines.size()) {
    const std::string_view left = lines.substr(done);
    const std::size_t size = regular_ ? left.size() : PieceForPipe(left);
    if (!regular_ && !WaitWritable()) break;
    const ssize_t written = ::write(file_.get(), left.data(), size);
    if (written >= 0) {
      done += static_cast<std::size_t>(written);
    } else if (errno != EINTR && errno != EAGAIN) {
      Note(errno);
      return done;
    }
  }
  if (done > 0 && done == lines.size()) Note(0);
  return done;
}

void LogWriter::ReopenNow() {
  if (path_ == "-") return;
  UniqueFd next = OpenLog(path_);
  if (!next) {
    spdlog::error("cannot open the access log {} again: {}; still writing to the old file", path_,
                  std::strerror(errno));
    return;
  }
  Write({});  // the rest of a line belongs to the old file
  if (!rest_.empty()) Drop(rest_);
  rest_.clear();
  file_ = std::move(next);
  regular_ = IsRegular(file_.get());
}

}  // namespace sluice::proxy
