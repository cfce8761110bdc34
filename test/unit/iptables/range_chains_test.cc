// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Lists of ranges compiled into chains: they must be equivalent to the list, and fast.

#include "iptables/range_chains.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::iptables {
namespace {

const capture::Target kInside = capture::Jump{"INSIDE"};

// One step of 2^(bits - length) up or down; nothing if that leaves the address space.
IpAddress Neighbour(const IpAddress& address, int length, bool up) {
  std::vector<std::uint8_t> bytes(address.bytes().begin(), address.bytes().end());
  int carry = 1 << ((8 - length % 8) % 8);
  for (int i = (length - 1) / 8; i >= 0 && carry != 0; --i) {
    const int sum = bytes[static_cast<std::size_t>(i)] + (up ? carry : -carry);
    bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(sum);
    carry = sum < 0 || sum > 255 ? 1 : 0;
  }
  return IpAddress::FromBytes(bytes);
}

IpAddress LastOf(const Cidr& range) {
  std::vector<std::uint8_t> bytes(range.address().bytes().begin(), range.address().bytes().end());
  for (int bit = range.prefix_length(); bit < AddressBits(range.family()); ++bit) {
    auto& byte = bytes[static_cast<std::size_t>(bit / 8)];
    byte = static_cast<std::uint8_t>(byte | (0x80 >> bit % 8));
  }
  return IpAddress::FromBytes(bytes);
}

class RandomRanges {
 public:
  RandomRanges(Family family, std::uint32_t seed) : family_(family), random_(seed) {}

  // From few leading bytes, so that ranges nest, touch and repeat.
  IpAddress Address() {
    std::vector<std::uint8_t> bytes(family_ == Family::kIpv4 ? 4 : 16);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random_());
    if (random_() % 4 != 0) {
      bytes[0] = 10;
      if (family_ == Family::kIpv6) std::fill_n(bytes.begin() + 1, 6, std::uint8_t{0});
    }
    return IpAddress::FromBytes(bytes);
  }
  Cidr Range() {
    const int bits = AddressBits(family_);
    // Mostly small ranges, as clouds publish them; now and then a large one.
    const int length = random_() % 50 == 0 ? 6 + static_cast<int>(random_() % 10)
                                           : bits - static_cast<int>(random_() % (bits / 2U));
    return Cidr(Address(), length);
  }
  std::vector<Cidr> List(std::size_t count) {
    std::vector<Cidr> list;
    while (list.size() < count) list.push_back(Range());
    return list;
  }

 private:
  Family family_;
  std::mt19937 random_;
};

// Evaluates chains as the kernel does.
class Walker {
 public:
  Walker(const std::vector<Cidr>& list, capture::RangeOf of, std::string outside = {}) : of_(of) {
    capture::Chain start{.name = "START", .rules = {}};
    AppendRanges(list, of, {.inside = kInside, .outside = std::move(outside)}, "TREE", start,
                 chains_);
    chains_.push_back(std::move(start));
    EXPECT_TRUE(of == capture::RangeOf::kDestination || OnlySources());
  }

  struct Answer {
    bool inside = false;
    std::string left_to;    // the chain outside the tree, if entered
    std::size_t rules = 0;  // how many rules the packet was tested against
  };

  Answer Walk(const IpAddress& address) const {
    Answer answer;
    const capture::Chain* chain = &chains_.back();
    for (std::size_t i = 0; i < chain->rules.size();) {
      const capture::Rule& rule = chain->rules[i++];
      ++answer.rules;
      const auto& range = of_ == capture::RangeOf::kSource ? rule.source : rule.destination;
      if (range && range->value.Contains(address) == range->negated) continue;
      if (rule.target == kInside) {
        answer.inside = true;
        return answer;
      }
      // The end of a chain entered with -g is the end of the whole list.
      const std::string& next = std::get<capture::Goto>(rule.target).chain;
      const auto found = std::ranges::find(chains_, next, &capture::Chain::name);
      if (found == chains_.end()) {
        answer.left_to = next;
        return answer;
      }
      chain = &*found;
      i = 0;
    }
    return answer;
  }

  std::size_t rules() const {
    std::size_t count = 0;
    for (const capture::Chain& chain : chains_) count += chain.rules.size();
    return count;
  }
  const std::vector<capture::Chain>& chains() const { return chains_; }

 private:
  bool OnlySources() const {
    return std::ranges::all_of(chains_, [](const capture::Chain& chain) {
      return std::ranges::none_of(chain.rules,
                                  [](const capture::Rule& r) { return !!r.destination; });
    });
  }

  capture::RangeOf of_;
  std::vector<capture::Chain> chains_;
};

// Without an algorithm, as this is compiled without optimisation and is asked millions of times.
bool InAny(const std::vector<Cidr>& list, const IpAddress& address) {
  const Cidr* const end = list.data() + list.size();
  for (const Cidr* range = list.data(); range != end; ++range) {
    if (range->Contains(address)) return true;
  }
  return false;
}

// Addresses that reveal mistakes: the edges of ranges and their neighbours.
std::vector<IpAddress> Edges(const std::vector<Cidr>& list, std::size_t at_most) {
  std::vector<IpAddress> out;
  const std::size_t step = std::max<std::size_t>(1, list.size() / at_most);
  for (std::size_t i = 0; i < list.size(); i += step) {
    const int bits = AddressBits(list[i].family());
    const IpAddress first = list[i].address();
    const IpAddress last = LastOf(list[i]);
    out.insert(out.end(),
               {first, last, Neighbour(first, bits, false), Neighbour(last, bits, true)});
  }
  return out;
}

// Eight branches and leaves of at most eight ranges: log8(n) levels of 8 rules if addresses are
// spread evenly; crowded ones take a few more levels. A plain list would take n.
std::size_t Bound(std::size_t ranges) {
  return 32 + 20 * static_cast<std::size_t>(std::ceil(std::log2(static_cast<double>(ranges) + 1)));
}

struct TreeCase {
  Family family;
  capture::RangeOf of;
  std::size_t ranges;
};

class RangeChains : public testing::TestWithParam<TreeCase> {};

TEST_P(RangeChains, MeanWhatTheListMeans) {
  const auto& [family, of, count] = GetParam();
  for (std::uint32_t seed = 1; seed <= 3; ++seed) {
    RandomRanges random(family, seed);
    const std::vector<Cidr> raw = random.List(count);
    const std::vector<Cidr> list = Aggregate(raw);
    const Walker walker(list, of);
    std::vector<IpAddress> probes = Edges(list, 300);
    for (int i = 0; i < 300; ++i) probes.push_back(random.Address());
    for (const IpAddress& probe : probes) {
      const auto answer = walker.Walk(probe);
      // Compared with the list as typed, so that this also checks aggregation.
      ASSERT_EQ(answer.inside, InAny(raw, probe)) << probe << ", seed " << seed;
      ASSERT_LE(answer.rules, Bound(list.size())) << probe << " of " << list.size();
    }
  }
}

TEST_P(RangeChains, LeadOutsideExactlyWhenNotInside) {
  const auto& [family, of, count] = GetParam();
  RandomRanges random(family, 9);
  const std::vector<Cidr> list = Aggregate(random.List(count));
  const Walker walker(list, of, "FURTHER");
  std::vector<IpAddress> probes = Edges(list, 100);
  for (int i = 0; i < 100; ++i) probes.push_back(random.Address());
  for (const IpAddress& probe : probes) {
    const auto answer = walker.Walk(probe);
    ASSERT_EQ(answer.inside, InAny(list, probe)) << probe;
    ASSERT_EQ(answer.left_to, answer.inside ? "" : "FURTHER") << probe;
  }
}

std::vector<TreeCase> TreeCases() {
  std::vector<TreeCase> cases;
  for (const Family family : capture::kFamilies) {
    for (const std::size_t ranges : {1U, 2U, 32U, 33U, 100U, 1000U, 5000U}) {
      cases.push_back({family, capture::RangeOf::kDestination, ranges});
    }
    cases.push_back({family, capture::RangeOf::kSource, 200});
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(, RangeChains, testing::ValuesIn(TreeCases()), [](const auto& info) {
  return std::string(Name(info.param.family)) +
         (info.param.of == capture::RangeOf::kSource ? "Sources" : "Destinations") +
         std::to_string(info.param.ranges);
});

TEST(RangeChainsForm, ShortListIsWalkedAsTyped) {
  const std::vector<Cidr> list = {Cidr::Parse("10.0.0.0/8"), Cidr::Parse("192.0.2.0/24")};
  const Walker walker(list, capture::RangeOf::kDestination);
  ASSERT_EQ(walker.chains().size(), 1U);
  EXPECT_EQ(walker.chains()[0].rules,
            (std::vector<capture::Rule>{{.destination = capture::Is(list[0]), .target = kInside},
                                        {.destination = capture::Is(list[1]), .target = kInside}}));
}

TEST(RangeChainsForm, NothingIsNoRule) {
  EXPECT_EQ(Walker({}, capture::RangeOf::kDestination).rules(), 0U);
}

TEST(RangeChainsForm, TreeIsNotMuchLargerThanItsList) {
  RandomRanges random(Family::kIpv4, 4);
  const std::vector<Cidr> list = Aggregate(random.List(5000));
  const Walker walker(list, capture::RangeOf::kDestination);
  EXPECT_LT(walker.rules(), list.size() * 2);
  std::set<std::string> names;
  for (const capture::Chain& chain : walker.chains()) {
    EXPECT_TRUE(names.insert(chain.name).second) << chain.name;
    EXPECT_FALSE(chain.rules.empty()) << chain.name;
  }
}

// Consecutive hosts: the most crowded case, and still not tested one by one.
TEST(RangeChainsForm, CrowdedHostsStayLogarithmic) {
  std::vector<Cidr> list;
  for (int i = 0; i < 4096; ++i) {
    list.emplace_back(
        IpAddress::V4(10, 0, static_cast<std::uint8_t>(i >> 7), static_cast<std::uint8_t>(i << 1)),
        32);
  }
  ASSERT_EQ(Aggregate(list).size(), list.size());
  const Walker walker(list, capture::RangeOf::kDestination);
  for (const Cidr& host : list) ASSERT_LE(walker.Walk(host.address()).rules, 48U) << host;
}

TEST(Aggregation, CoversTheSameAddressesWithFewerRanges) {
  for (const Family family : capture::kFamilies) {
    RandomRanges random(family, 7);
    const std::vector<Cidr> raw = random.List(400);
    const std::vector<Cidr> list = Aggregate(raw);
    EXPECT_TRUE(std::ranges::is_sorted(list));
    EXPECT_LE(list.size(), raw.size());
    for (std::size_t i = 1; i < list.size(); ++i) {
      EXPECT_FALSE(list[i - 1].Contains(list[i])) << list[i];
    }
    EXPECT_EQ(Aggregate(list), list);
    for (const IpAddress& probe : Edges(raw, 400)) {
      ASSERT_EQ(InAny(list, probe), InAny(raw, probe)) << probe;
    }
  }
}

TEST(Aggregation, MergesHalvesUpToEverything) {
  std::vector<Cidr> quarters;
  for (const char* text : {"192.0.0.0/2", "0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2"}) {
    quarters.push_back(Cidr::Parse(text));
  }
  EXPECT_THAT(Aggregate(quarters), testing::ElementsAre(Cidr::Parse("0.0.0.0/0")));
}

}  // namespace
}  // namespace sluice::iptables
