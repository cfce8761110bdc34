// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include "capture/explain/walk.h"
#include "capture/settings/init_config.h"

namespace sluice::init {

// The connection in question, with assumptions in `notes`. Throws Error(kUsage) naming the flag,
// the value and what is expected. If an inbound connection has no interface, in_interface is "?",
// which the caller replaces.
struct Question {
  capture::explain::Connection connection;
  std::vector<std::string> notes;
};
inline constexpr const char* kUnnamedInterface = "?";

// From flags.
Question ParseQuestion(const capture::ExplainText& text);

// From one line of a batch: {"to":"198.51.100.1:80","proto":"tcp","from_uid":1000,"from_gid":1000}.
Question ParseQuestionJson(std::string_view line);

}  // namespace sluice::init
