// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <boost/json/value.hpp>

namespace sluice::inject::yaml {

// `text` as a scalar of YAML 1.1 and 1.2 on one line: plain if that is safe, else quoted.
std::string WriteString(std::string_view text);

// `value` in flow style on one line. The result is also JSON.
std::string WriteFlow(const boost::json::value& value);

// The layout of lines.
struct Layout {
  std::string_view line_end = "\n";
  std::size_t indent = 0;           // columns before the first character
  std::size_t sequence_indent = 0;  // of a sequence's dashes, below its key
};

// "key: value" in block style, as whole lines.
std::string WriteMember(std::string_view key, const boost::json::value& value,
                        const Layout& layout);
// "- value" in block style, as whole lines.
std::string WriteItem(const boost::json::value& value, const Layout& layout);

}  // namespace sluice::inject::yaml
