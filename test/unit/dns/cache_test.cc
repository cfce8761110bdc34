// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "dns/cache.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/dns/dns_fixture.h"

namespace sluice::dns {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const DnsCache::Clock::time_point kStart{seconds(1000)};

DnsQuery Query(const std::string& name = "a.example", std::uint16_t id = 0x1234) {
  return ParseDnsRequest(TestMessage{.id = id, .name = name}.Bytes()).query;
}

DnsResponse Response(TestMessage message) {
  message.flags |= kAnswerFlags;
  const DnsQuery query =
      ParseDnsRequest(TestMessage{.name = message.name, .type = message.type}.Bytes()).query;
  return ParseDnsResponse(message.Bytes(), query, message.id).value();
}

std::uint32_t Seconds(const TestMessage& message) {
  const DnsResponse response = Response(message);
  return DnsCacheSeconds(*response.message.question, response);
}

std::vector<std::uint32_t> Ttls(const DnsBytes& bytes) {
  std::vector<std::uint32_t> out;
  const DnsMessage message = ParseDnsMessage(bytes).value();
  for (const DnsRecord& record : message.records) out.push_back(record.ttl);
  return out;
}

TEST(DnsCacheSeconds, IsTheSmallestTtl) {
  EXPECT_EQ(Seconds({.answers = {TestA(60), TestA(30)}, .additionals = {TestA(90)}}), 30U);
  EXPECT_EQ(Seconds({.answers = {TestA(60)}, .additionals = {TestA(0)}}), 0U);
  EXPECT_EQ(Seconds({.answers = {TestA(0x7fffffff)}}), 24U * 3600);
  EXPECT_EQ(Seconds({.answers = {TestA(60)}, .additionals = {TestOpt(1232)}}), 60U);
}

TEST(DnsCacheSeconds, FollowsTheSoaForWhatIsNotThere) {
  const std::uint16_t nxdomain = 3;
  EXPECT_EQ(Seconds({.flags = nxdomain, .authorities = {TestSoa(300, 30)}}), 30U);
  EXPECT_EQ(Seconds({.flags = nxdomain, .authorities = {TestSoa(20, 30)}}), 20U);
  EXPECT_EQ(Seconds({.flags = nxdomain, .authorities = {TestSoa(86400, 86400)}}), 3U * 3600);
  EXPECT_EQ(Seconds({.flags = nxdomain}), 0U);
  EXPECT_EQ(Seconds({.authorities = {TestSoa(300, 30)}}), 30U) << "no such record";
  EXPECT_EQ(Seconds({}), 0U);
  // An alias whose target has no such record, or is elsewhere.
  const TestRecord alias{.owner = kAtQuestion, .type = kTypeCname, .ttl = 10, .data = {0}};
  EXPECT_EQ(Seconds({.answers = {alias}, .authorities = {TestSoa(300, 30)}}), 10U);
  EXPECT_EQ(Seconds({.answers = {alias}}), 0U);
  EXPECT_EQ(Seconds({.answers = {alias, TestA(60)}}), 10U);
}

TEST(DnsCacheSeconds, IsNothingForWhatIsNoAnswer) {
  for (const std::uint16_t rcode : std::initializer_list<std::uint16_t>{1, 2, 4, 5}) {
    EXPECT_EQ(Seconds({.flags = rcode, .answers = {TestA(60)}}), 0U) << rcode;
  }
  EXPECT_EQ(Seconds({.flags = dns_flag::kTruncated, .answers = {TestA(60)}}), 0U);
}

// The second record's name is read from the first one's TTL, here still the root's.
TEST(DnsCacheSeconds, IsNothingWhenCountingDownWouldChangeAName) {
  const std::size_t ttl_at = kDnsHeaderBytes + WireName("a.example").size() + 4 + 2 + 4;
  const std::string at_ttl = {'\xc0', static_cast<char>(ttl_at)};
  EXPECT_EQ(Seconds({.answers = {TestA(60), {.owner = at_ttl, .ttl = 60}}}), 0U);
  const std::string at_data = {'\xc0', static_cast<char>(ttl_at + 6)};
  const TestRecord alias{.owner = kAtQuestion, .type = kTypeCname, .ttl = 60, .data = {1, 'b', 0}};
  EXPECT_EQ(Seconds({.answers = {alias, {.owner = at_data, .ttl = 60}}}), 60U);
}

TEST(DnsCache, CountsDownAndExpires) {
  DnsCache cache;
  EXPECT_EQ(cache.Get(Query(), kStart), std::nullopt);
  cache.Put(Query(), Response({.answers = {TestA(60)}, .additionals = {TestA(90)}}), kStart);
  EXPECT_THAT(Ttls(*cache.Get(Query(), kStart)), testing::ElementsAre(60, 90));
  EXPECT_THAT(Ttls(*cache.Get(Query(), kStart + milliseconds(1999))), testing::ElementsAre(59, 89));
  EXPECT_THAT(Ttls(*cache.Get(Query(), kStart + seconds(59))), testing::ElementsAre(1, 31));
  EXPECT_EQ(cache.Get(Query(), kStart + seconds(60)), std::nullopt);
  EXPECT_EQ(cache.entries(), 0U);
  EXPECT_EQ(cache.bytes(), 0U);
}

TEST(DnsCache, AnswersWhateverTheIdAndCase) {
  DnsCache cache;
  TestMessage answer{.flags = kAnswerFlags | dns_flag::kAuthoritative, .answers = {TestA(60)}};
  cache.Put(Query(), Response(answer), kStart);
  const DnsQuery other = Query("A.EXAMPLE", 7);
  const auto hit = cache.Get(other, kStart);
  ASSERT_TRUE(hit);
  answer.id = 7;
  answer.name = "A.EXAMPLE";
  answer.flags = kAnswerFlags;
  EXPECT_EQ(MakeReply(other, *hit, 512), answer.Bytes());
  EXPECT_EQ(cache.Get(Query("b.example"), kStart), std::nullopt);
}

TEST(DnsCache, BoundsTheSoaOfANegativeAnswer) {
  DnsCache cache;
  cache.Put(Query(), Response({.flags = 3, .authorities = {TestSoa(300, 30)}}), kStart);
  EXPECT_THAT(Ttls(*cache.Get(Query(), kStart + seconds(10))), testing::ElementsAre(20));
  EXPECT_EQ(cache.Get(Query(), kStart + seconds(30)), std::nullopt);
}

TEST(DnsCache, ReplacesAndForgets) {
  DnsCache cache;
  cache.Put(Query(), Response({.answers = {TestA(60)}}), kStart);
  cache.Put(Query(), Response({.answers = {TestA(600)}}), kStart + seconds(50));
  EXPECT_EQ(cache.entries(), 1U);
  EXPECT_THAT(Ttls(*cache.Get(Query(), kStart + seconds(100))), testing::ElementsAre(550));
  // The newer answer may not be kept, and the older one is no longer valid.
  cache.Put(Query(), Response({.answers = {TestA(0)}}), kStart + seconds(100));
  EXPECT_EQ(cache.Get(Query(), kStart + seconds(100)), std::nullopt);
}

TEST(DnsCache, KeepsToItsLimits) {
  DnsCache few({.entries = 2, .bytes = 1 << 20});
  for (const char* name : {"a.example", "b.example"}) {
    few.Put(Query(name), Response({.name = name, .answers = {TestA(60)}}), kStart);
  }
  EXPECT_TRUE(few.Get(Query("a.example"), kStart));  // now b is the least recently used
  few.Put(Query("c.example"), Response({.name = "c.example", .answers = {TestA(60)}}), kStart);
  EXPECT_EQ(few.entries(), 2U);
  EXPECT_TRUE(few.Get(Query("a.example"), kStart));
  EXPECT_FALSE(few.Get(Query("b.example"), kStart));
  EXPECT_TRUE(few.Get(Query("c.example"), kStart));

  DnsCache small({.entries = 1000, .bytes = 4000});
  for (int i = 0; i < 100; ++i) {
    const std::string name = "n" + std::to_string(i) + ".example";
    small.Put(Query(name), Response({.name = name, .answers = {TestA(60)}}), kStart);
    EXPECT_LE(small.bytes(), 4000U);
    EXPECT_TRUE(small.Get(Query(name), kStart)) << i;
  }
  EXPECT_GT(small.entries(), 5U);
  const std::size_t before = small.entries();
  small.Put(Query(), Response({.answers = std::vector<TestRecord>(300, TestA(60))}), kStart);
  EXPECT_FALSE(small.Get(Query(), kStart)) << "larger than all of it";
  EXPECT_EQ(small.entries(), before);
}

}  // namespace
}  // namespace sluice::dns
