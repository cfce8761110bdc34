// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/yaml/write.h"

#include <algorithm>

#include <boost/json/serialize.hpp>

#include "inject/yaml/node.h"

namespace sluice::inject::yaml {
namespace {

// The indentation of a mapping below its key, as is usual.
constexpr std::size_t kStep = 2;

bool IsWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Letters, digits and characters without a special meaning anywhere in YAML.
bool IsSafePlain(std::string_view text) {
  if (text.empty() || !(IsWordCharacter(text[0]) || text[0] == '/' || text.starts_with("--"))) {
    return false;
  }
  if (text == "---" || text == "<<" || text == "=") return false;
  const bool safe = std::ranges::all_of(text, [](char c) {
    return IsWordCharacter(c) || std::string_view("-_./,+=:").find(c) != std::string_view::npos;
  });
  if (!safe) return false;
  // A colon inside a word is part of it: sluice:0.1.0, host:80. After digits some read base 60.
  for (auto at = text.find(':'); at != std::string_view::npos; at = text.find(':', at + 1)) {
    if (at + 1 == text.size() || !IsWordCharacter(text[at + 1]) ||
        (text[0] >= '0' && text[0] <= '9')) {
      return false;
    }
  }
  Node node;
  node.value = text;
  // 1.2.3 and 10-11 are strings for kubectl, but other parsers know dates and base 60.
  return IsString(node) && !(text[0] >= '0' && text[0] <= '9' &&
                             text.find_first_not_of("0123456789-.,_") == std::string_view::npos &&
                             text.find(',') == std::string_view::npos);
}

bool IsCollection(const boost::json::value& value) {
  return (value.is_object() && !value.get_object().empty()) ||
         (value.is_array() && !value.get_array().empty());
}

void WriteValue(std::string& out, const boost::json::value& value, const Layout& layout);

void WriteMembers(std::string& out, const boost::json::object& object, const Layout& layout,
                  bool first_line_begun) {
  for (const auto& [key, value] : object) {
    if (!first_line_begun) out.append(layout.indent, ' ');
    first_line_begun = false;
    out += WriteString(key) + ":";
    WriteValue(out, value, layout);
  }
}

void WriteItems(std::string& out, const boost::json::array& array, const Layout& layout) {
  for (const boost::json::value& item : array) out += WriteItem(item, layout);
}

std::string WriteLeaf(const boost::json::value& value) {
  if (value.is_string()) return WriteString(value.get_string());
  return boost::json::serialize(value);
}

// The text after "key:", up to the end of the last line.
void WriteValue(std::string& out, const boost::json::value& value, const Layout& layout) {
  if (!IsCollection(value)) {
    out += " " + WriteLeaf(value);
    out += layout.line_end;
    return;
  }
  out += layout.line_end;
  Layout below = layout;
  if (value.is_object()) {
    below.indent += kStep;
    WriteMembers(out, value.get_object(), below, false);
  } else {
    below.indent += layout.sequence_indent;
    WriteItems(out, value.get_array(), below);
  }
}

}  // namespace

std::string WriteString(std::string_view text) {
  if (IsSafePlain(text)) return std::string(text);
  const bool printable =
      std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~' && c != '\''; });
  // More readable for JSON in an annotation.
  if (printable && text.find('"') != std::string_view::npos) return "'" + std::string(text) + "'";
  // YAML does not allow DEL, and JSON does not escape it.
  std::string quoted = boost::json::serialize(boost::json::value(text));
  for (auto at = quoted.find('\x7f'); at != std::string::npos; at = quoted.find('\x7f', at)) {
    quoted.replace(at, 1, "\\u007f");
  }
  return quoted;
}

std::string WriteFlow(const boost::json::value& value) {
  std::string out;
  if (value.is_object()) {
    for (const auto& [key, member] : value.get_object()) {
      out += (out.empty() ? "" : ", ") + boost::json::serialize(boost::json::value(key)) + ": " +
             WriteFlow(member);
    }
    return "{" + out + "}";
  }
  if (value.is_array()) {
    for (const boost::json::value& item : value.get_array()) {
      out += (out.empty() ? "" : ", ") + WriteFlow(item);
    }
    return "[" + out + "]";
  }
  return boost::json::serialize(value);
}

std::string WriteMember(std::string_view key, const boost::json::value& value,
                        const Layout& layout) {
  std::string out(layout.indent, ' ');
  out += WriteString(key) + ":";
  WriteValue(out, value, layout);
  return out;
}

std::string WriteItem(const boost::json::value& value, const Layout& layout) {
  std::string out(layout.indent, ' ');
  out += "- ";
  if (value.is_object() && IsCollection(value)) {
    Layout inner = layout;
    inner.indent += kStep;
    WriteMembers(out, value.get_object(), inner, true);
  } else {
    // We never add a list inside a list.
    out += value.is_array() ? WriteFlow(value) : WriteLeaf(value);
    out += layout.line_end;
  }
  return out;
}

}  // namespace sluice::inject::yaml
