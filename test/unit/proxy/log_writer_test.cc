// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/log/log_writer.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sluice::proxy {
namespace {

// A mebibyte for each worker (log_writer.cc); line lengths do not divide it.
constexpr std::size_t kBound = 1024 * 1024;
constexpr std::size_t kLine = 1000;

class LogWriterTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove(path_); }
  void TearDown() override { std::filesystem::remove(path_); }

  std::string Written() const {
    std::ifstream in(path_);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static std::string Lines(std::size_t count, char letter) {
    std::string out;
    for (std::size_t i = 0; i < count; ++i) out += std::string(kLine - 1, letter) + '\n';
    return out;
  }

  const std::string path_ =
      testing::TempDir() + testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(LogWriterTest, WritesEachWorkersLinesInTheirOrder) {
  {
    LogWriter log(path_, 2);
    log.Start();
    for (int i = 0; i < 100; ++i) {
      for (int worker = 0; worker < 2; ++worker) {
        std::string lines = std::to_string(worker) + ' ' + std::to_string(i) + '\n';
        log.Take(worker, lines);
        EXPECT_EQ(lines, "");
      }
    }
  }
  std::ifstream in(path_);
  std::array<int, 2> next = {};
  for (int worker = 0, number = 0; in >> worker >> number;) {
    ASSERT_TRUE(worker == 0 || worker == 1);
    EXPECT_EQ(number, next.at(static_cast<std::size_t>(worker))++);
  }
  EXPECT_EQ(next[0], 100);
  EXPECT_EQ(next[1], 100);
}

TEST_F(LogWriterTest, DropsWholeLinesOverTheBoundAndCountsThem) {
  constexpr std::size_t kFit = kBound / kLine;
  {
    LogWriter log(path_, 2);  // not started, so it takes nothing
    std::string lines = Lines(1000, 'a');
    log.Take(0, lines);
    EXPECT_EQ(log.dropped(), 0u);
    lines = Lines(100, 'b');
    log.Take(0, lines);
    EXPECT_EQ(lines, "");
    EXPECT_EQ(log.dropped(), 1100 - kFit);
    lines = Lines(1, 'c');
    log.Take(0, lines);
    EXPECT_EQ(log.dropped(), 1101 - kFit);
    lines = Lines(1, 'd');  // another worker's batch has room
    log.Take(1, lines);
    EXPECT_EQ(log.dropped(), 1101 - kFit);
    log.Start();
  }
  EXPECT_EQ(Written(), Lines(1000, 'a') + Lines(kFit - 1000, 'b') + Lines(1, 'd'));
}

TEST_F(LogWriterTest, TakesWhatFitsOfATurnThatIsOverTheBoundByItself) {
  {
    LogWriter log(path_, 1);
    std::string lines = Lines(2000, 'a');
    log.Take(0, lines);
    EXPECT_EQ(log.dropped(), 2000 - kBound / kLine);
    log.Start();
  }
  EXPECT_EQ(Written(), Lines(kBound / kLine, 'a'));
}

// A pipe of one page, so that its reader sees each write separately.
class PipeLogTest : public LogWriterTest {
 protected:
  PipeLogTest() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    read_.reset(ends[0]);
    write_.reset(ends[1]);
    EXPECT_GT(::fcntl(ends[1], F_SETPIPE_SZ, 4096), 0);
  }
  std::string PathOfPipe() const { return "/proc/self/fd/" + std::to_string(write_.get()); }
  std::string Read() const {
    std::string out(1 << 20, '\0');
    const ssize_t got = ::read(read_.get(), out.data(), out.size());
    out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return out;
  }

  UniqueFd read_;
  UniqueFd write_;
};

TEST_F(PipeLogTest, APipeGetsWholeLines) {
  LogWriter log(PathOfPipe(), 1);
  std::string lines = Lines(100, 'a');
  log.Take(0, lines);
  log.Start();
  std::size_t received = 0;
  while (received < 100 * kLine) {
    const std::string piece = Read();
    ASSERT_FALSE(piece.empty());
    EXPECT_EQ(piece.size() % kLine, 0U);
    received += piece.size();
  }
  EXPECT_EQ(received, 100 * kLine);
}

TEST_F(PipeLogTest, ALineLongerThanAPieceIsWhole) {
  LogWriter log(PathOfPipe(), 1);
  const std::string expected = "before\n" + std::string(20'000, 'a') + "\nbehind\n";
  std::string lines = expected;
  log.Take(0, lines);
  log.Start();
  std::string received;
  while (received.size() < expected.size()) {
    const std::string piece = Read();
    ASSERT_FALSE(piece.empty());
    received += piece;
  }
  EXPECT_EQ(received, expected);
}

TEST_F(LogWriterTest, DoesNotWaitForTheReaderOfAFifo) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  try {
    const LogWriter log(path_, 1);
    ADD_FAILURE() << "nobody reads it";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("start its reader first"), std::string::npos)
        << error.what();
  }
  const UniqueFd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  {
    LogWriter log(path_, 1);
    log.Start();
    std::string lines = Lines(1, 'a');
    log.Take(0, lines);
  }
  std::string got(2 * kLine, '\0');
  got.resize(static_cast<std::size_t>(::read(reader.get(), got.data(), got.size())));
  EXPECT_EQ(got, Lines(1, 'a'));
}

// A file size limit simulates a full disk: both accept part of the last write.
TEST_F(LogWriterTest, MakesALineWholeThatDidNotFit) {
  const auto limit_file_size = [](rlim_t bytes) {
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  };
  std::signal(SIGXFSZ, SIG_IGN);
  std::ostringstream said;
  const auto logger = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "said", std::make_shared<spdlog::sinks::ostream_sink_mt>(said)));
  spdlog::set_pattern("%l %v");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  {
    LogWriter log(path_, 1);
    log.Start();
    limit_file_size(kLine + kLine / 2);
    std::string lines = Lines(1, 'a') + Lines(1, 'b') + Lines(1, 'c');
    log.Take(0, lines);
    const auto wait_for_drops = [&](std::uint64_t count) {
      for (int i = 0; i < 6000 && log.dropped() < count; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      return log.dropped();
    };
    EXPECT_EQ(wait_for_drops(1), 1U) << "c";
    lines = Lines(1, 'd');
    log.Take(0, lines);
    EXPECT_EQ(wait_for_drops(2), 2U) << "still full";
    limit_file_size(before.rlim_cur);
    lines = Lines(1, 'e');
    log.Take(0, lines);
  }
  spdlog::set_default_logger(logger);
  EXPECT_EQ(Written(), Lines(1, 'a') + Lines(1, 'b') + Lines(1, 'e'));
  EXPECT_EQ(said.str(), "warning cannot write the access log (" + path_ +
                            "): File too large; until that works again its lines are lost, and "
                            "counted in sluice_access_log_dropped_total\n"
                            "info the access log (" +
                            path_ + ") is written again; 2 lines were lost so far\n");
}

}  // namespace
}  // namespace sluice::proxy
