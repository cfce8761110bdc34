// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "trace/attribution.h"
#include "trace/processes.h"

namespace sluice::init {

// A connection that `trace` shows.
struct TracedConnection {
  std::chrono::system_clock::time_point time;
  trace::Seen seen;
  std::optional<std::uint32_t> uid = {};
  std::optional<trace::Holder> holder = {};
  trace::Attribution attribution;
};

// One line each, with its newline.
std::string TraceText(const TracedConnection& connection);
std::string TraceJson(const TracedConnection& connection);

}  // namespace sluice::init
