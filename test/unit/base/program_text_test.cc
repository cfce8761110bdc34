// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/text/program_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice {
namespace {

using testing::HasSubstr;

ProgramText Program() {
  return {
      .name = "prog-x",
      .aliases = {"other"},
      .commands = {{"show", "what's there"}},
      .groups = {{"Ports", {{"port", 'p', "PORT", "a port: [1-65535], it's a number"}}},
                 {"None", {}},
                 {"Ways", {{"when", 0, "auto|on|off", "when"}, {"dry-run", 0, {}, "only print"}}}}};
}

TEST(ProgramText, HelpIsGroupedAndNarrow) {
  EXPECT_EQ(OptionHelp(Program()),
            "Ports:\n  -p, --port PORT\n          a port: [1-65535], it's a number\n"
            "\nWays:\n      --when auto|on|off\n          when\n      --dry-run\n"
            "          only print\n");
  const std::string long_text =
      Wrapped(std::string(40, 'a') + " " + std::string(60, 'b') + " c", 10);
  EXPECT_EQ(long_text, std::string(10, ' ') + std::string(40, 'a') + "\n" + std::string(10, ' ') +
                           std::string(60, 'b') + " c\n");
  EXPECT_EQ(Wrapped(std::string(100, 'x') + " y", 2), "  " + std::string(100, 'x') + "\n  y\n");
}

TEST(ProgramText, CompletionsQuoteWhatShellsRead) {
  EXPECT_THAT(*Completion(Program(), "bash"), HasSubstr("complete -F _prog_x prog-x other\n"));
  EXPECT_THAT(*Completion(Program(), "zsh"),
              HasSubstr("'*--port=[a port\\: \\[1-65535\\], it'\\''s a number]:PORT: '"));
  EXPECT_THAT(*Completion(Program(), "fish"), HasSubstr("-a show -d 'what\\'s there'\n"));
  EXPECT_EQ(Completion(Program(), "csh"), std::nullopt);
}

TEST(ProgramText, AnswersOneCommandLine) {
  EXPECT_EQ(AnswerCompletion({"completion", "bash"}, Program), Completion(Program(), "bash"));
  EXPECT_EQ(AnswerCompletion({}, Program), std::nullopt);
  EXPECT_EQ(AnswerCompletion({"completion"}, Program), std::nullopt);
  EXPECT_EQ(AnswerCompletion({"bash", "completion"}, Program), std::nullopt);
  EXPECT_THROW(AnswerCompletion({"completion", "csh"}, Program), Error);
}

}  // namespace
}  // namespace sluice
