// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/text/unified_diff.h"

#include <algorithm>
#include <cstdint>

namespace sluice {
namespace {

constexpr std::size_t kContext = 3;  // as in diff -u

// Up to this many table cells (16 MiB) the difference is the shortest. Beyond it the whole
// differing middle is shown as removed and added, which is just as correct.
constexpr std::size_t kMaxCells = 4 << 20;

// One line of output: ' ', '-' or '+', then the line.
struct Edit {
  char kind;
  const std::string* line;
};

using Lines = std::vector<std::string>;

// Edits from have[start, have_end) to want[start, want_end), by longest common subsequence.
void Middle(const Lines& have, std::size_t have_end, const Lines& want, std::size_t want_end,
            std::size_t start, std::vector<Edit>& edits) {
  const std::size_t rows = have_end - start;
  const std::size_t columns = want_end - start;
  std::size_t i = 0;
  std::size_t j = 0;
  if ((rows + 1) * (columns + 1) <= kMaxCells) {
    // common[i][j]: how many lines have[i..] and want[j..] have in common, in order.
    std::vector<std::uint32_t> common((rows + 1) * (columns + 1), 0);
    const auto cell = [&](std::size_t row, std::size_t column) -> std::uint32_t& {
      return common[row * (columns + 1) + column];
    };
    for (std::size_t row = rows; row-- > 0;) {
      for (std::size_t column = columns; column-- > 0;) {
        cell(row, column) = have[start + row] == want[start + column]
                                ? cell(row + 1, column + 1) + 1
                                : std::max(cell(row + 1, column), cell(row, column + 1));
      }
    }
    while (i < rows && j < columns) {
      if (have[start + i] == want[start + j]) {
        edits.push_back({' ', &have[start + i]});
        ++i, ++j;
      } else if (cell(i + 1, j) >= cell(i, j + 1)) {
        edits.push_back({'-', &have[start + i++]});
      } else {
        edits.push_back({'+', &want[start + j++]});
      }
    }
  }
  for (; i < rows; ++i) edits.push_back({'-', &have[start + i]});
  for (; j < columns; ++j) edits.push_back({'+', &want[start + j]});
}

std::vector<Edit> Edits(const Lines& have, const Lines& want) {
  const std::size_t shorter = std::min(have.size(), want.size());
  std::size_t head = 0;
  while (head < shorter && have[head] == want[head]) ++head;
  std::size_t tail = 0;
  while (tail < shorter - head && have[have.size() - 1 - tail] == want[want.size() - 1 - tail]) {
    ++tail;
  }
  std::vector<Edit> edits;
  for (std::size_t i = 0; i < head; ++i) edits.push_back({' ', &have[i]});
  Middle(have, have.size() - tail, want, want.size() - tail, head, edits);
  for (std::size_t i = have.size() - tail; i < have.size(); ++i) edits.push_back({' ', &have[i]});
  return edits;
}

// "12,3"; diff -u counts from 1, and an empty range names the line before it.
std::string Range(std::size_t start, std::size_t count) {
  if (count == 1) return std::to_string(start + 1);
  return std::to_string(count == 0 ? start : start + 1) + "," + std::to_string(count);
}

}  // namespace

std::string UnifiedDiff(const Lines& have, const Lines& want, const std::string& from,
                        const std::string& to) {
  const std::vector<Edit> edits = Edits(have, want);
  const auto changed = [](const Edit& edit) { return edit.kind != ' '; };
  std::string out;
  std::size_t have_line = 0;
  std::size_t want_line = 0;
  for (std::size_t i = 0; i < edits.size();) {
    if (!changed(edits[i])) {
      ++i, ++have_line, ++want_line;
      continue;
    }
    // A hunk ends where the next change is more than twice the context away.
    const std::size_t lead = std::min(kContext, i);
    std::size_t end = i + 1;
    for (std::size_t k = end; k < edits.size() && k < end + 2 * kContext + 1; ++k) {
      if (changed(edits[k])) end = k + 1;
    }
    const std::size_t stop = std::min(end + kContext, edits.size());
    std::string body;
    std::size_t have_count = 0;
    std::size_t want_count = 0;
    for (std::size_t k = i - lead; k < stop; ++k) {
      body += edits[k].kind + *edits[k].line + "\n";
      if (edits[k].kind != '+') ++have_count;
      if (edits[k].kind != '-') ++want_count;
    }
    out += "@@ -" + Range(have_line - lead, have_count) + " +" +
           Range(want_line - lead, want_count) + " @@\n" + body;
    have_line += have_count - lead;
    want_line += want_count - lead;
    i = stop;
  }
  return out.empty() ? out : "--- " + from + "\n+++ " + to + "\n" + out;
}

}  // namespace sluice
