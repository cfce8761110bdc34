// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/text/json_document.h"

#include <algorithm>

#include <boost/json/parse.hpp>
#include <boost/json/stream_parser.hpp>

namespace sluice {

std::string LineAndColumn(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto line = std::ranges::count(before, '\n') + 1;
  // npos when there is none: adding 1 gives 0.
  const std::string_view start = before.substr(before.rfind('\n') + 1);
  // Continuation bytes of UTF-8 begin with the bits 10.
  const auto is_first = [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80; };
  return std::to_string(line) + ":" + std::to_string(std::ranges::count_if(start, is_first) + 1);
}

boost::json::value ParseJson(std::string_view text, std::size_t max_depth,
                             std::optional<JsonFault>& fault) {
  boost::json::parse_options options;
  options.max_depth = max_depth;
  boost::json::stream_parser parser({}, options);
  boost::system::error_code code;
  const std::size_t read = parser.write_some(text.data(), text.size(), code);
  if (!code && read < text.size()) code = boost::json::error::extra_data;
  if (!code) parser.finish(code);
  if (!code) return parser.release();
  fault = JsonFault{read, code.message()};
  return nullptr;
}

std::vector<JsonMember> OutermostMembers(std::string_view text) {
  std::vector<JsonMember> out;
  std::size_t last_start = 0;
  std::size_t last_size = 0;
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    switch (text[i]) {
      case '"':
        last_start = i++;
        for (; text[i] != '"'; ++i) i += text[i] == '\\' ? 1 : 0;
        last_size = i + 1 - last_start;
        break;
      case '{':
      case '[':
        ++depth;
        break;
      case '}':
      case ']':
        --depth;
        break;
      case ':': {
        if (depth != 1) break;
        const auto key = boost::json::parse(text.substr(last_start, last_size));
        out.push_back({std::string(key.as_string()), last_start});
        break;
      }
      default:
        break;
    }
  }
  return out;
}

}  // namespace sluice
