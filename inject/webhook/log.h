// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string_view>

#include <boost/json/object.hpp>

namespace sluice::inject::webhook {

// Writes a line to standard error: one JSON object with the time, `level`, `message` and `fields`.
void Log(const char* level, std::string_view message, boost::json::object fields = {});

}  // namespace sluice::inject::webhook
