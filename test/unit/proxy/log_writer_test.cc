#include "proxy/log/log_writer.h"

#include <array>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

// A mebibyte a worker (log_writer.cc); lines of a length that does not divide it.
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
    LogWriter log(path_, 2);  // not started: a writer that takes nothing
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

}  // namespace
}  // namespace sluice::proxy
