// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/text/pretty_json.h"

#include <boost/json.hpp>

namespace sluice {
namespace {

namespace json = boost::json;

void Write(const json::value& value, const std::string& indent, std::string& out) {
  const std::string deeper = indent + "  ";
  const auto members = [&](const auto& items, char open, char close, const auto& write_item) {
    out += open;
    bool first = true;
    for (const auto& item : items) {
      out += first ? "\n" : ",\n";
      out += deeper;
      write_item(item);
      first = false;
    }
    if (!first) out += "\n" + indent;
    out += close;
  };
  if (const json::object* object = value.if_object()) {
    members(*object, '{', '}', [&](const auto& member) {
      out += json::serialize(json::string(member.key())) + ": ";
      Write(member.value(), deeper, out);
    });
  } else if (const json::array* array = value.if_array()) {
    members(*array, '[', ']', [&](const json::value& item) { Write(item, deeper, out); });
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::string PrettyJson(const json::value& value) {
  std::string out;
  Write(value, "", out);
  return out + "\n";
}

}  // namespace sluice
