// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/range_chains.h"

#include <algorithm>
#include <span>

namespace sluice::iptables {
namespace {

// Eight branches per node: a packet tests about four rules a level; 10,000 ranges are five levels.
constexpr int kBitsPerLevel = 3;

// A leaf tests this many ranges; fewer would cost more in chains than they save in tests.
constexpr std::size_t kLeafRanges = 8;

// How many leading bits `a` and `b` have in common.
int CommonBits(const IpAddress& a, const IpAddress& b) {
  const auto left = a.bytes();
  const auto right = b.bytes();
  int bits = 0;
  for (std::size_t i = 0; i < left.size(); ++i, bits += 8) {
    const auto differing = static_cast<std::uint8_t>(left[i] ^ right[i]);
    if (differing == 0) continue;
    for (std::uint8_t bit = 0x80; (differing & bit) == 0;
         bit = static_cast<std::uint8_t>(bit >> 1)) {
      ++bits;
    }
    break;
  }
  return bits;
}

// The smallest range that covers all of `ranges`, which must be sorted.
Cidr Cover(std::span<const Cidr> ranges) {
  const Cidr& first = ranges.front();
  const int common = CommonBits(first.address(), ranges.back().address());
  const int length = std::min({common, first.prefix_length(), ranges.back().prefix_length()});
  return Cidr(first.address(), length);
}

class Compiler {
 public:
  Compiler(capture::RangeOf of, const RangeTargets& targets, const std::string& prefix,
           std::vector<capture::Chain>& chains)
      : of_(of), targets_(targets), prefix_(prefix), chains_(chains) {}

  // The rules that look up `ranges` (sorted, disjoint), for the end of one chain.
  std::vector<capture::Rule> Compile(std::span<const Cidr> ranges) {
    std::vector<capture::Rule> rules;
    if (ranges.size() <= kLeafRanges) {
      for (const Cidr& range : ranges) rules.push_back(For(range, targets_.inside));
    } else {
      const int length = Cover(ranges).prefix_length() + kBitsPerLevel;
      while (!ranges.empty()) {
        const auto group = TakeGroup(ranges, length);
        if (group.size() == 1) {
          rules.push_back(For(group.front(), targets_.inside));
        } else {
          rules.push_back(For(Cover(group), capture::Goto{Subtree(group)}));
        }
        ranges = ranges.subspan(group.size());
      }
    }
    if (!targets_.outside.empty()) rules.push_back({.target = capture::Goto{targets_.outside}});
    return rules;
  }

 private:
  // The first ranges that share their first `length` bits; a wider range forms its own group.
  static std::span<const Cidr> TakeGroup(std::span<const Cidr> ranges, int length) {
    if (ranges.front().prefix_length() <= length) return ranges.first(1);
    const Cidr group(ranges.front().address(), length);
    const auto end = std::ranges::find_if_not(
        ranges, [&group](const Cidr& range) { return group.Contains(range); });
    return ranges.first(static_cast<std::size_t>(end - ranges.begin()));
  }

  std::string Subtree(std::span<const Cidr> ranges) {
    std::string name = prefix_ + "_" + std::to_string(++count_);
    std::vector<capture::Rule> rules = Compile(ranges);
    chains_.push_back({name, std::move(rules)});
    return name;
  }

  capture::Rule For(const Cidr& range, const capture::Target& target) const {
    if (of_ == capture::RangeOf::kSource) return {.source = capture::Is(range), .target = target};
    return {.destination = capture::Is(range), .target = target};
  }

  const capture::RangeOf of_;
  const RangeTargets& targets_;
  const std::string& prefix_;
  std::vector<capture::Chain>& chains_;
  int count_ = 0;
};

}  // namespace

void AppendRanges(const std::vector<Cidr>& ranges, capture::RangeOf of, const RangeTargets& targets,
                  const std::string& prefix, capture::Chain& chain,
                  std::vector<capture::Chain>& chains) {
  std::vector<capture::Rule> rules;
  if (ranges.size() <= kLinearRanges) {
    for (const Cidr& range : ranges) {
      rules.push_back(
          of == capture::RangeOf::kSource
              ? capture::Rule{.source = capture::Is(range), .target = targets.inside}
              : capture::Rule{.destination = capture::Is(range), .target = targets.inside});
    }
    if (!targets.outside.empty()) rules.push_back({.target = capture::Goto{targets.outside}});
  } else {
    rules = Compiler(of, targets, prefix, chains).Compile(ranges);
  }
  chain.rules.insert(chain.rules.end(), rules.begin(), rules.end());
}

}  // namespace sluice::iptables
