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
// them: both from 1, and a column is a character of UTF-8.
std::string LineAndColumn(std::string_view text, std::size_t offset);

// Where and why a text is no JSON.
struct JsonFault {
  std::size_t offset = 0;
  std::string why;  // "syntax error"
};

// Strictly as RFC 8259 has it, nested at most `max_depth` deep. Sets `fault`, and returns null,
// when it is not.
boost::json::value ParseJson(std::string_view text, std::size_t max_depth,
                             std::optional<JsonFault>& fault);

struct JsonMember {
  std::string key;
  std::size_t offset = 0;  // of the key's quote
};

// The members of the outermost object, in their order; a key that is there twice is listed twice,
// of which boost::json::object keeps the last. `text` is an object that parses.
std::vector<JsonMember> OutermostMembers(std::string_view text);

}  // namespace sluice
