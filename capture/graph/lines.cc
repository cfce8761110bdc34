// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/graph/lines.h"

#include <algorithm>

namespace sluice::capture::graph {
namespace {

// The length of a character, by its first byte.
std::size_t BytesOf(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte < 0xc0) return 1;
  if (byte < 0xe0) return 2;
  return byte < 0xf0 ? 3 : 4;
}
// U+1100 and above encode as the bytes e1 84 80 and above.
std::size_t ColumnsOf(std::string_view character) { return character >= "\xe1\x84\x80" ? 2 : 1; }

}  // namespace

std::size_t Columns(std::string_view text) {
  std::size_t out = 0;
  while (!text.empty()) {
    const std::size_t bytes = std::min(BytesOf(text.front()), text.size());
    out += ColumnsOf(text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
  return out;
}

std::vector<std::string> Broken(std::string_view text, std::size_t columns) {
  std::vector<std::string> out;
  std::string line;
  while (!text.empty()) {
    const std::size_t space = std::min(text.find(' '), text.size());
    std::string_view word = text.substr(0, space);
    text.remove_prefix(std::min(space + 1, text.size()));
    if (word.empty()) continue;
    if (!line.empty() && Columns(line) + 1 + Columns(word) > columns) {
      out.push_back(std::move(line));
      line.clear();
    }
    if (!line.empty()) line += ' ';
    while (Columns(line) + Columns(word) > columns) {
      // Only a word longer than a line gets here, at the start of a line.
      std::size_t end = 0;
      while (end < word.size()) {
        const std::size_t next = std::min(end + BytesOf(word[end]), word.size());
        if (end > 0 && Columns(word.substr(0, next)) > columns) break;
        end = next;
      }
      out.emplace_back(word.substr(0, end));
      word.remove_prefix(end);
    }
    line += word;
  }
  if (!line.empty() || out.empty()) out.push_back(std::move(line));
  return out;
}

std::string NodeName(std::size_t panel, std::size_t node) {
  return (panel == 0 ? "a" : "b") + std::to_string(node);
}

}  // namespace sluice::capture::graph
