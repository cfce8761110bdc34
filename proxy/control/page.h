// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proxy/config.h"
#include "proxy/control/connection_info.h"
#include "proxy/control/history.h"
#include "proxy/control/rules_picture.h"
#include "proxy/stats.h"

// The page of the admin port: HTML without other files, which shows the proxy as it is now. It is a
// table without JavaScript; with it, the page updates itself, sorts and filters.
namespace sluice::proxy {

// What the page shows beside counters and connections.
struct PageFacts {
  std::string version;
  std::string commit;      // empty: unknown
  std::string_view state;  // "serving"
  std::int64_t start_unix_ms = 0;
  std::uint64_t max_connections = 0;
};

// Which connections follow, and the time that the page shows.
struct PageRows {
  std::size_t shown = 0;
  std::size_t open = 0;
  std::int64_t now_unix_ms = 0;
};

// The page up to the rows of its connections. `rules` may be nullptr: no picture was asked for.
std::string PageHead(const ProxyConfig& config, const PageFacts& facts, const Stats& stats,
                     std::span<const History::Sample> history, const RulesPicture* rules,
                     const PageRows& rows);
std::string PageRow(const ConnectionInfo& info, std::int64_t now_unix_ms);
std::string_view PageTail();

}  // namespace sluice::proxy
