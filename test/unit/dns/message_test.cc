// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "dns/message.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dns/wire.h"
#include "test/unit/dns/dns_fixture.h"

namespace sluice::dns {
namespace {

std::optional<std::string> NameAt(std::string_view tail, std::size_t& at) {
  DnsBytes bytes(kDnsHeaderBytes);  // pointers must not lead into it
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  at += kDnsHeaderBytes;
  auto name = ReadDnsName(bytes, at);
  at -= kDnsHeaderBytes;
  return name;
}

std::optional<std::string> Name(std::string_view tail, std::size_t at = 0) {
  return NameAt(tail, at);
}

TEST(ReadDnsName, ReadsAndFollowsPointers) {
  using namespace std::string_view_literals;
  std::size_t at = 0;
  EXPECT_EQ(NameAt("\1a\7example\0rest"sv, at), WireName("a.example"));
  EXPECT_EQ(at, 11U);
  at = 9;
  EXPECT_EQ(NameAt("\7example\0\1b\xc0\x0c\1x\xc0\x15"sv, at), WireName("b.example"));
  EXPECT_EQ(at, 13U);
  EXPECT_EQ(NameAt("\7example\0\1b\xc0\x0c\1x\xc0\x15"sv, at), WireName("x.b.example"));
  EXPECT_EQ(at, 17U);
  EXPECT_EQ(Name("\0"sv), WireName(""));
}

TEST(ReadDnsName, RefusesLoopsAndWhatIsNotThere) {
  using namespace std::string_view_literals;
  EXPECT_EQ(Name("\xc0\x0c"sv), std::nullopt);                          // to itself
  EXPECT_EQ(Name("\1a\xc0\x0c"sv), std::nullopt);                       // to the part it ends
  EXPECT_EQ(Name("\xc0\x0e\xc0\x0c"sv), std::nullopt);                  // forwards
  EXPECT_EQ(Name("\1a\xc0\x0c"sv, 2), std::nullopt);                    // backwards, then a loop
  EXPECT_EQ(Name("\xc0\x00"sv), std::nullopt);                          // into the header
  EXPECT_EQ(Name("\xff\xff"sv), std::nullopt);                          // beyond the message
  EXPECT_EQ(Name("\3ab\xc0\x0cxxxxxxxxxxxx\0"sv, 3), std::nullopt);     // to one that overlaps it
  EXPECT_EQ(Name("\xc0"sv), std::nullopt);                              // half a pointer
  EXPECT_EQ(Name("\1a"sv), std::nullopt);                               // no end
  EXPECT_EQ(Name("\5a"sv), std::nullopt);                               // a label that is cut
  EXPECT_EQ(Name("\x40" + std::string(64, 'a') + '\0'), std::nullopt);  // labels above 63
  EXPECT_EQ(Name("\x80\0"sv), std::nullopt);
  EXPECT_EQ(Name(""), std::nullopt);
}

TEST(ReadDnsName, BoundsTheName) {
  std::string longest;
  for (int i = 0; i < 127; ++i) longest += "\1a";
  EXPECT_EQ(Name(longest + '\0')->size(), 255U);
  EXPECT_EQ(Name(longest + "\1a" + '\0'), std::nullopt);
  // 128 pointers, each to a label and the pointer before.
  std::string chain = std::string("\1a\0", 3);
  std::size_t before = kDnsHeaderBytes;
  for (int i = 0; i < 128; ++i) {
    const std::size_t begins = kDnsHeaderBytes + chain.size();
    chain += {1, 'a', static_cast<char>(0xc0 | before >> 8), static_cast<char>(before & 0xff)};
    before = begins;
  }
  EXPECT_EQ(Name(chain, chain.size() - 4), std::nullopt);
  EXPECT_EQ(Name(chain, chain.size() - 12)->size(), 255U);
}

TEST(ParseDnsMessage, ReadsTheFrame) {
  TestMessage message{
      .flags = kAnswerFlags,
      .answers = {{.owner = kAtQuestion, .type = kTypeCname, .ttl = 7, .data = {0}}, TestA(60)},
      .authorities = {TestSoa(300, 30)},
      .additionals = {TestA(0x80000000), TestOpt(1400, 0x00008000)}};
  const DnsBytes bytes = message.Bytes();
  const auto parsed = ParseDnsMessage(bytes);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->header.id, 0x1234);
  EXPECT_EQ(parsed->header.answers, 2);
  EXPECT_EQ(parsed->question->name, WireName("a.example"));
  EXPECT_EQ(parsed->question->type, kTypeA);
  ASSERT_EQ(parsed->records.size(), 5U);
  EXPECT_EQ(parsed->records[0].ttl, 7U);
  EXPECT_EQ(parsed->records[1].data_bytes, 4U);
  EXPECT_EQ(parsed->records[2].section, DnsSection::kAuthority);
  EXPECT_EQ(SoaMinimum(bytes, parsed->records[2]), 30U);
  EXPECT_EQ(SoaMinimum(bytes, parsed->records[1]), std::nullopt);
  EXPECT_EQ(parsed->records[3].ttl, 0U) << "above 2^31 - 1";
  ASSERT_TRUE(parsed->edns);
  EXPECT_EQ(parsed->edns->udp_bytes, 1400);
  EXPECT_TRUE(parsed->edns->dnssec_ok);
}

TEST(ParseDnsMessage, RefusesEveryTruncationAndTrailingBytes) {
  DnsBytes bytes =
      TestMessage{.answers = {TestA(60)}, .authorities = {TestSoa(3, 3)}, .additionals = {TestA(1)}}
          .Bytes();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(ParseDnsMessage(DnsView(bytes).first(length))) << length;
  }
  EXPECT_TRUE(ParseDnsMessage(bytes));
  const std::size_t size = bytes.size();
  bytes.push_back(0);
  EXPECT_FALSE(ParseDnsMessage(bytes));
  std::size_t found = 0;
  EXPECT_TRUE(ParseDnsMessageAtStart(bytes, found));
  EXPECT_EQ(found, size);
}

TEST(DnsQuestion, HasAZone) {
  const auto zone = [](const char* name) {
    return DnsQuestion{.name = WireName(name), .type = kTypeA, .qclass = kClassIn}.Zone();
  };
  EXPECT_EQ(zone("a.b.Svc.Cluster.LOCAL"), WireName("cluster.local"));
  EXPECT_EQ(zone("cluster.local"), WireName("cluster.local"));
  EXPECT_EQ(zone("local"), WireName("local"));
  EXPECT_EQ(zone(""), WireName(""));
}

TEST(ParseDnsMessage, RefusesWhatMakesNoSense) {
  EXPECT_FALSE(ParseDnsMessage(TestMessage{.additionals = {TestOpt(512), TestOpt(512)}}.Bytes()));
  EXPECT_FALSE(ParseDnsMessage(TestMessage{.answers = {TestOpt(512)}}.Bytes()));
  TestRecord owned = TestOpt(512);
  owned.owner = kAtQuestion;
  EXPECT_FALSE(ParseDnsMessage(TestMessage{.additionals = {owned}}.Bytes()));
  EXPECT_FALSE(
      ParseDnsMessage(TestMessage{.answers = {{.owner = std::string("\xc0\x1c\0", 3)}}}.Bytes()));
  DnsBytes two = TestMessage{}.Bytes();
  two[5] = 2;
  EXPECT_FALSE(ParseDnsMessage(two));
}

TEST(SoaMinimum, RefusesOtherLengths) {
  for (const int change : {-1, 1}) {
    TestRecord soa = TestSoa(300, 30);
    soa.data.resize(soa.data.size() + static_cast<std::size_t>(change));
    const DnsBytes bytes = TestMessage{.authorities = {soa}}.Bytes();
    EXPECT_EQ(SoaMinimum(bytes, ParseDnsMessage(bytes)->records.at(0)), std::nullopt);
  }
}

TEST(DnsQuestion, IgnoresTheCaseOfLetters) {
  const DnsQuestion lower{WireName("a.example"), kTypeA, kClassIn};
  const DnsQuestion upper{WireName("A.ExAMPLE"), kTypeA, kClassIn};
  EXPECT_TRUE(lower.Matches(upper));
  EXPECT_EQ(lower.Key(), upper.Key());
  EXPECT_FALSE(lower.Matches({WireName("b.example"), kTypeA, kClassIn}));
  EXPECT_FALSE(lower.Matches({WireName("a.example"), kTypeTxt, kClassIn}));
  EXPECT_NE(lower.Key(), (DnsQuestion{WireName("a.example"), kTypeA, 3}).Key());
}

DnsRequest Ask(const TestMessage& message) { return ParseDnsRequest(message.Bytes()); }

DnsRcode RefusedWith(const TestMessage& message) {
  const DnsRequest request = Ask(message);
  EXPECT_EQ(request.handling, DnsRequest::Handling::kRefuse);
  const auto reply = ParseDnsMessage(request.reply);
  if (!reply) return DnsRcode::kNoError;
  EXPECT_EQ(reply->header.id, message.id);
  EXPECT_NE(reply->header.flags & dns_flag::kResponse, 0);
  const int upper = reply->edns ? reply->edns->extended_rcode << 4 : 0;
  return static_cast<DnsRcode>(upper | static_cast<int>(reply->header.rcode()));
}

TEST(ParseDnsRequest, TakesAQuery) {
  const DnsRequest plain = Ask({.id = 7, .flags = dns_flag::kRecursionDesired});
  EXPECT_EQ(plain.handling, DnsRequest::Handling::kForward);
  EXPECT_EQ(plain.query.id, 7);
  EXPECT_EQ(plain.query.flags, dns_flag::kRecursionDesired);
  EXPECT_EQ(plain.query.MaxUdpBytes(), 512U);
  EXPECT_EQ(Ask({.additionals = {TestOpt(100)}}).query.MaxUdpBytes(), 512U);
  EXPECT_EQ(Ask({.additionals = {TestOpt(4096)}}).query.MaxUdpBytes(), 4096U);
}

TEST(ParseDnsRequest, RefusesWhatCannotBeForwarded) {
  EXPECT_EQ(RefusedWith({.flags = 5 << 11}), DnsRcode::kNotImp);  // UPDATE
  for (const std::uint16_t opcode : {std::uint16_t{4 << 11}, std::uint16_t{5 << 11}}) {
    const DnsRequest request = ParseDnsRequest(TestMessage{.flags = opcode}.Bytes());
    EXPECT_EQ(GetDnsHeader(request.reply).flags & dns_flag::kOpcode, opcode);
  }
  EXPECT_EQ(RefusedWith({.name = "-"}), DnsRcode::kFormErr);
  EXPECT_EQ(RefusedWith({.answers = {{.owner = "\xff\xff"}}}), DnsRcode::kFormErr);
  EXPECT_EQ(RefusedWith({.type = dns_type::kAxfr}), DnsRcode::kRefused);
  EXPECT_EQ(RefusedWith({.additionals = {TestOpt(512, 0x00010000)}}), DnsRcode::kBadVers);
}

TEST(ParseDnsRequest, DropsWhatIsNoQuery) {
  EXPECT_EQ(Ask({.flags = kAnswerFlags}).handling, DnsRequest::Handling::kDrop);
  const DnsBytes bytes = TestMessage{}.Bytes();
  EXPECT_EQ(ParseDnsRequest(DnsView(bytes).first(11)).handling, DnsRequest::Handling::kDrop);
  EXPECT_EQ(ParseDnsRequest({}).handling, DnsRequest::Handling::kDrop);
}

TEST(DnsQuery, TellsQueriesApartWhoseAnswersDiffer) {
  const std::string key = Ask({}).query.Key();
  EXPECT_EQ(Ask({.id = 9, .name = "A.example"}).query.Key(), key);
  EXPECT_EQ(Ask({.additionals = {TestOpt(4096)}}).query.Key(), key);
  EXPECT_NE(Ask({.additionals = {TestOpt(4096, 0x8000)}}).query.Key(), key);
  EXPECT_NE(Ask({.flags = 0}).query.Key(), key);
  EXPECT_NE(Ask({.type = kTypeTxt}).query.Key(), key);
}

TEST(MakeUpstreamQuery, CarriesTheQuestionAndNothingPersonal) {
  TestRecord opt = TestOpt(4096, 0x8000);
  opt.data = {0, 10, 0, 2, 'h', 'i'};  // a cookie: concerns only the client and us
  const DnsRequest request =
      Ask({.id = 7, .flags = 0x0100 | 0x0040, .name = "A.example", .additionals = {opt}});
  EXPECT_EQ(MakeUpstreamQuery(request.query, 99),
            (TestMessage{.id = 99,
                         .flags = dns_flag::kRecursionDesired,
                         .name = "A.example",
                         .additionals = {TestOpt(kDnsUdpPayload, 0x8000)}}
                 .Bytes()));
  EXPECT_EQ(MakeUpstreamQuery(Ask({.id = 7}).query, 0x1234), TestMessage{}.Bytes());
}

TEST(ParseDnsResponse, BelievesOnlyTheAnswerToItsQuestion) {
  const DnsQuery query = Ask({}).query;
  const TestMessage good{.id = 99, .flags = kAnswerFlags, .answers = {TestA(60)}};
  EXPECT_TRUE(ParseDnsResponse(good.Bytes(), query, 99));
  EXPECT_FALSE(ParseDnsResponse(good.Bytes(), query, 98));
  TestMessage other = good;
  other.name = "b.example";
  EXPECT_FALSE(ParseDnsResponse(other.Bytes(), query, 99));
  other = good;
  other.type = kTypeTxt;
  EXPECT_FALSE(ParseDnsResponse(other.Bytes(), query, 99));
  other = good;
  other.flags = dns_flag::kRecursionDesired;
  EXPECT_FALSE(ParseDnsResponse(other.Bytes(), query, 99));
  other = good;
  other.flags |= 5 << 11;
  EXPECT_FALSE(ParseDnsResponse(other.Bytes(), query, 99));
  EXPECT_FALSE(ParseDnsResponse(TestMessage{.id = 99, .flags = kAnswerFlags, .name = "-"}.Bytes(),
                                query, 99));
  EXPECT_TRUE(ParseDnsResponse(
      TestMessage{.id = 99, .flags = kAnswerFlags | 1, .name = "-"}.Bytes(), query, 99));
}

TEST(ParseDnsResponse, TakesOutOpt) {
  const DnsQuery query = Ask({}).query;
  TestMessage message{.id = 99,
                      .flags = kAnswerFlags,
                      .answers = {TestA(60)},
                      .additionals = {TestA(5), TestOpt(4096), TestA(6)}};
  const auto response = ParseDnsResponse(message.Bytes(), query, 99);
  message.additionals = {TestA(5)};
  EXPECT_EQ(response->bytes, message.Bytes());
  EXPECT_EQ(response->message.records.size(), 2U);
  message.additionals = {TestOpt(4096, 0x01000000)};
  EXPECT_EQ(ParseDnsResponse(message.Bytes(), query, 99)->rcode(), DnsRcode::kServFail);
}

TEST(MakeReply, IsTheClientsOwn) {
  const DnsQuery query = Ask({.id = 7, .flags = 0x0110, .name = "A.eXample"}).query;
  TestMessage answer{.id = 99, .flags = 0x8080 | 3, .answers = {TestA(60)}};
  const DnsBytes upstream = answer.Bytes();
  answer.id = 7;
  answer.flags |= 0x0110;
  answer.name = "A.eXample";
  EXPECT_EQ(MakeReply(query, upstream, 512), answer.Bytes());

  const DnsQuery edns =
      Ask({.id = 7, .flags = 0x0110, .name = "A.eXample", .additionals = {TestOpt(4096, 0x8000)}})
          .query;
  answer.additionals = {TestOpt(kDnsUdpPayload, 0x8000)};
  EXPECT_EQ(MakeReply(edns, upstream, 512), answer.Bytes());
}

TEST(MakeReply, TruncatesWhatTheClientCannotTake) {
  const std::vector<TestRecord> many(40, TestA(60));
  TestMessage answer{.flags = kAnswerFlags, .answers = many};
  const DnsBytes upstream = answer.Bytes();
  const DnsQuery query = Ask({}).query;
  EXPECT_EQ(MakeReply(query, upstream, upstream.size()), upstream);
  answer.answers.clear();
  answer.flags |= dns_flag::kTruncated;
  EXPECT_EQ(MakeReply(query, upstream, upstream.size() - 1), answer.Bytes());

  // OPT counts.
  const DnsQuery edns = Ask({.additionals = {TestOpt(512)}}).query;
  answer.additionals = {TestOpt(kDnsUdpPayload)};
  EXPECT_EQ(MakeReply(edns, upstream, upstream.size() + 10), answer.Bytes());
  EXPECT_EQ(MakeReply(edns, upstream, upstream.size() + 11).size(), upstream.size() + 11);
}

TEST(MakeReply, GivesAnErrorItsQuestion) {
  const DnsBytes bare = TestMessage{.flags = kAnswerFlags | 2, .name = "-"}.Bytes();
  EXPECT_EQ(MakeReply(Ask({}).query, bare, 512), (TestMessage{.flags = kAnswerFlags | 2}.Bytes()));
  EXPECT_EQ(MakeErrorReply(Ask({}).query, DnsRcode::kServFail),
            (TestMessage{.flags = kAnswerFlags | 2}.Bytes()));
}

}  // namespace
}  // namespace sluice::dns
