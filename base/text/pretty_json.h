// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include <boost/json/fwd.hpp>

namespace sluice {

// `value` as indented JSON for people, with a newline at the end; members keep their order.
std::string PrettyJson(const boost::json::value& value);

}  // namespace sluice
