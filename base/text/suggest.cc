// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/text/suggest.h"

#include <algorithm>
#include <numeric>

namespace sluice {
namespace {

// Shorter parts occur in too many names to identify one.
constexpr std::size_t kShortestPart = 4;

// Ignores what people mix up: case, and '-' and '_'.
char Folded(char c) {
  if (c == '_') return '-';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string Folded(std::string_view text) {
  std::string out;
  for (const char c : text) out += Folded(c);
  return out;
}

// How many letters to insert, delete, replace, or swap with a neighbour (Damerau's distance,
// restricted: a swapped pair is not edited again).
std::size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before;
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before = last;
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string_view FindNearMiss(std::string_view typed, const std::vector<std::string_view>& names) {
  const std::string word = Folded(typed);
  // A short flag is close to many names; nobody mistypes a third of a name.
  constexpr std::size_t kMostTyped = 64;
  if (word.size() < 2 || word.size() > kMostTyped) return {};
  const std::size_t most = std::min<std::size_t>(3, (word.size() + 1) / 3);
  std::string_view nearest;
  std::size_t least = most + 1;
  for (const std::string_view name : names) {
    const std::size_t distance = Distance(word, Folded(name));
    if (distance >= least) continue;
    least = distance;
    nearest = name;
  }
  if (!nearest.empty() || word.size() < kShortestPart) return nearest;
  const auto has_word = [&word](std::string_view name) {
    return Folded(name).find(word) != std::string::npos;
  };
  if (std::ranges::count_if(names, has_word) == 1) return *std::ranges::find_if(names, has_word);
  return {};
}

std::string SuggestFlag(std::string_view typed, const std::vector<std::string_view>& names,
                        std::string_view otherwise) {
  typed = typed.substr(0, typed.find('='));
  typed.remove_prefix(std::min(typed.find_first_not_of('-'), typed.size()));
  const std::string_view found = FindNearMiss(typed, names);
  if (found.empty()) return std::string(otherwise);
  return "did you mean --" + std::string(found) + "?";
}

std::string SuggestWord(std::string_view typed, const std::vector<std::string_view>& names,
                        std::string_view otherwise) {
  const std::string_view found = FindNearMiss(typed, names);
  if (found.empty()) return std::string(otherwise);
  return "did you mean " + std::string(found) + "?";
}

}  // namespace sluice
