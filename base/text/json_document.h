// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/fwd.hpp>

namespace sluice {

// "3:7", line and column of the byte at `offset` (at most the size), as compilers and editors write
// them: both count from 1, and columns are UTF-8 characters.
std::string LineAndColumn(std::string_view text, std::size_t offset);

// Where and why a text is not JSON.
struct JsonFault {
  std::size_t offset = 0;
  std::string why;  // "syntax error"
};

// Strict RFC 8259, nested at most `max_depth` deep. On invalid input, sets `fault` and returns
// null.
boost::json::value ParseJson(std::string_view text, std::size_t max_depth,
                             std::optional<JsonFault>& fault);

struct JsonMember {
  std::string key;
  std::size_t offset = 0;  // of the key's quote
};

// The members of the outermost object, in order. A repeated key is listed each time;
// boost::json::object keeps only the last. `text` must be an object that parses.
std::vector<JsonMember> OutermostMembers(std::string_view text);

}  // namespace sluice
