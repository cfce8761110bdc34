// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/webhook/log.h"

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include <boost/json/serialize.hpp>

#include "base/text/utc_time.h"

namespace sluice::inject::webhook {

void Log(const char* level, std::string_view message, boost::json::object fields) {
  boost::json::object line{{"time", UtcTime(std::chrono::system_clock::now(), 3)},
                           {"level", level},
                           {"message", message}};
  for (auto& [key, value] : fields) line[key] = std::move(value);
  const std::string text = boost::json::serialize(line) + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace sluice::inject::webhook
