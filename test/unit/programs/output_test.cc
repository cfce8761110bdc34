// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Each program when it cannot write its output.

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

namespace sluice {
namespace {

// The exit status of a program from this build.
int StatusOf(const std::string& command_line) {
  const std::filesystem::path directory =
      std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const int status = std::system((directory / command_line).c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class Output : public testing::TestWithParam<const char*> {};

// On a full disk a file of rules would be truncated, and still look complete.
TEST_P(Output, ThatCannotBeWrittenIsAnError) {
  const std::string command_line = GetParam();
  EXPECT_EQ(StatusOf(command_line + " >/dev/null"), 0);
  EXPECT_EQ(StatusOf(command_line + " >/dev/full 2>/dev/null"), 1);
}

// The next socket or file would get the number, and the text.
TEST_P(Output, ToWhatIsClosedIsAnError) {
  const std::string command_line = GetParam();
  EXPECT_EQ(StatusOf(command_line + " >&- 2>/dev/null"), 1);
  EXPECT_EQ(StatusOf(command_line + " <&- >&- 2>/dev/null"), 1);
  EXPECT_EQ(StatusOf(command_line + " <&- 2>&- >/dev/null"), 0);
}

INSTANTIATE_TEST_SUITE_P(, Output,
                         testing::Values("sluice-init --dry-run -i '*' -b '*' --ipv6 off",
                                         "sluice-init --print-config", "sluice-init --help",
                                         "sluice-init --version", "sluice-proxy --help",
                                         "sluice-proxy --version", "sluice-netns --help"),
                         [](const auto& info) { return "Line" + std::to_string(info.index); });

}  // namespace
}  // namespace sluice
