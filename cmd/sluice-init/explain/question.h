// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include "capture/explain/walk.h"
#include "capture/settings/init_config.h"

namespace sluice::init {

// The connection that is asked about, with what had to be assumed in `notes`. Throws Error(kUsage)
// naming the flag, the value and what would be right. An inbound connection whose interface is not
// named has in_interface "?", which the caller replaces.
struct Question {
  capture::explain::Connection connection;
  std::vector<std::string> notes;
};
inline constexpr const char* kUnnamedInterface = "?";

// Of flags.
Question ParseQuestion(const capture::ExplainText& text);

// Of one line of a batch: {"to":"198.51.100.1:80","proto":"tcp","from_uid":1000,"from_gid":1000}.
Question ParseQuestionJson(std::string_view line);

}  // namespace sluice::init
