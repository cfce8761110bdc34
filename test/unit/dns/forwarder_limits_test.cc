// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <chrono>
#include <string>
#include <system_error>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dns/forwarder.h"
#include "test/unit/dns/dns_forwarder_fixture.h"

namespace sluice::dns {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

TEST(DnsForwarderLimits, BoundsTheQueriesInFlight) {
  const FakeDnsServer silent(Family::kIpv4, IsSilent);
  const Running running({&silent}, {.timeout = std::chrono::minutes(1), .max_in_flight = 2});
  const DnsClient client(running.address, false);
  const DnsClient other(running.address, false);
  client.Send(TestMessage{.id = 1, .name = "a.example"}.Bytes());
  other.Send(TestMessage{.id = 2, .name = "b.example"}.Bytes());
  ASSERT_TRUE(Eventually([&] { return silent.asked() == 2; }));
  client.Send(TestMessage{.id = 3, .name = "c.example"}.Bytes());
  const auto reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(ParseDnsMessage(*reply)->header.id, 3);
  EXPECT_EQ(ParseDnsMessage(*reply)->header.rcode(), DnsRcode::kServFail);
  EXPECT_EQ(running.stats().over_limit, 1U);
  EXPECT_EQ(silent.asked(), 2);
}

// Of 40 questions of one client, named by `flood`, 32 find no room; others are answered all the
// same.
template <typename Name>
void ExpectRoomBeside(const Running& running, Name flood) {
  const DnsClient client(running.address, false);
  for (int i = 0; i < 40; ++i) client.Send(TestMessage{.name = flood(std::to_string(i))}.Bytes());
  ASSERT_TRUE(Eventually([&] { return running.stats().over_limit == 32; }));
  for (int i = 0; i < 20; ++i) {
    const auto reply = Ask(running, {.name = "n" + std::to_string(i) + ".well.example"});
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->header.rcode(), DnsRcode::kNoError) << i;
  }
  EXPECT_EQ(running.stats().over_limit, 32U);
}

// Many questions for a zone with silent servers leave room for others.
TEST(DnsForwarderLimits, ASilentZoneDoesNotTakeEverything) {
  const FakeDnsServer server(Family::kIpv4, [](const SeenQuery& query) {
    return ParseDnsRequest(query.bytes).query.question.Zone() == WireName("silent.example")
               ? IsSilent(query)
               : Knows(query);
  });
  const Running running({&server}, {.timeout = std::chrono::minutes(1), .max_in_flight = 16});
  ExpectRoomBeside(running, [](const std::string& i) { return "n" + i + ".silent.example"; });
}

// Nor does one client that asks for many silent zones.
TEST(DnsForwarderLimits, OneClientDoesNotTakeEverything) {
  const FakeDnsServer server(Family::kIpv4, [](const SeenQuery& query) {
    return ParseDnsRequest(query.bytes).query.question.name.find("silent") != std::string::npos
               ? IsSilent(query)
               : Knows(query);
  });
  const Running running({&server}, {.timeout = std::chrono::minutes(1), .max_in_flight = 16});
  ExpectRoomBeside(running, [](const std::string& i) { return "www.silent" + i + ".example"; });
}

TEST(DnsForwarderLimits, TakesAnswersWithBytesBehindThem) {
  const FakeDnsServer server(Family::kIpv4, [](const SeenQuery& query) {
    DnsBytes bytes = AnswerTo(query).Bytes();
    bytes.insert(bytes.end(), {0, 0, 0});
    return std::vector<DnsBytes>{bytes};
  });
  const Running running({&server}, {.timeout = std::chrono::minutes(1)});
  const auto reply = Ask(running, {});
  ASSERT_TRUE(reply) << "and without them: it could not be read";
  EXPECT_EQ(reply->header.rcode(), DnsRcode::kNoError);
  EXPECT_EQ(reply->records.size(), 1U);
}

TEST(DnsForwarderLimits, BoundsItsTcpClients) {
  const FakeDnsServer silent(Family::kIpv4, IsSilent);
  const Running running({&silent}, {.timeout = std::chrono::minutes(1),
                                    .max_tcp_clients = 1,
                                    .tcp_idle = std::chrono::minutes(1)});
  const DnsClient first(running.address, true);
  first.Send(TestMessage{}.Bytes());
  ASSERT_TRUE(Eventually([&] { return silent.asked() == 1; }));
  const DnsClient second(running.address, true);
  EXPECT_EQ(second.Receive(), std::nullopt);
  EXPECT_EQ(running.stats().over_limit, 1U);
  first.Send(TestMessage{.name = "-"}.Bytes());
  EXPECT_TRUE(first.Receive()) << "not disturbed: it waits for an answer";
}

// Idle clients do not keep out active ones.
TEST(DnsForwarderLimits, IdleTcpClientsMakeRoom) {
  const FakeDnsServer server(Family::kIpv4, Knows);
  const Running running({&server}, {.max_tcp_clients = 4, .tcp_idle = std::chrono::minutes(1)});
  std::vector<DnsClient> idle;
  for (int i = 0; i < 10; ++i) {
    idle.emplace_back(running.address, true);
    EXPECT_TRUE(Ask(running, {}, true)) << i;
  }
  EXPECT_EQ(idle.front().Receive(), std::nullopt) << "closed for the others";
}

TEST(DnsForwarderLimits, ReadsNoMoreQuestionsThanItMayOwe) {
  const FakeDnsServer silent(Family::kIpv4, IsSilent);
  const Running running({&silent}, {.timeout = std::chrono::minutes(1), .max_pipelined = 2});
  const DnsClient client(running.address, true);
  for (const char* name : {"a.example", "b.example", "c.example", "d.example"}) {
    client.Send(TestMessage{.name = name}.Bytes());
  }
  ASSERT_TRUE(Eventually([&] { return silent.asked() == 2; }));
  // Many loop iterations have passed since, and it has left the others alone.
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(Ask(running, {.name = "-"}));
  EXPECT_EQ(running.stats().queries, 2U);
}

TEST(DnsForwarderLimits, ClosesIdleTcpClients) {
  const FakeDnsServer server(Family::kIpv4, Knows);
  const Running running({&server}, {.tcp_idle = milliseconds(200)});
  const DnsClient silent(running.address, true);
  const DnsClient slow(running.address, true);
  slow.SendRaw({0});
  const auto begin = steady_clock::now();
  EXPECT_EQ(silent.Receive(), std::nullopt);
  EXPECT_EQ(slow.Receive(), std::nullopt);
  EXPECT_LT(steady_clock::now() - begin, kPatience) << "closed, not given up on";
}

// A client that asks and never reads: its questions are limited, then it is closed.
TEST(DnsForwarderLimits, ClosesATcpClientThatTakesNoAnswers) {
  const FakeDnsServer server(Family::kIpv4, [](const SeenQuery& query) {
    TestMessage answer = AnswerTo(query);
    answer.answers.assign(query.tcp ? 3900 : 0, TestA(60));
    if (!query.tcp) answer.flags |= dns_flag::kTruncated;
    return std::vector<DnsBytes>{answer.Bytes()};
  });
  const Running running({&server}, {.tcp_idle = milliseconds(300)});
  const DnsClient client(running.address, true);
  const DnsBytes query = TestMessage{}.Bytes();
  const auto send_until_closed = [&] {
    const auto deadline = steady_clock::now() + kPatience;
    while (steady_clock::now() < deadline) client.Send(query);
  };
  EXPECT_THROW(send_until_closed(), std::system_error);
  // Each answer is 62 KiB; questions beyond the sockets' buffers are not even read.
  EXPECT_LT(running.stats().queries, 500U);
}

ErrorText WhyNot(const DnsForwarderOptions& options) {
  try {
    DnsForwarder(options).Start();
  } catch (const Error& error) {
    return error.text();
  }
  return {};
}

TEST(DnsForwarderLimits, RefusesToAskItself) {
  const SocketAddress listen{IpAddress::V4(127, 0, 0, 1), 15053};
  EXPECT_THAT(WhyNot({.listen = {listen}, .resolvers = {{listen, ""}}}).why,
              testing::HasSubstr("127.0.0.1:15053 is this forwarder itself"));
  const SocketAddress any{IpAddress{}, 15053};
  const SocketAddress other_loopback{IpAddress::V4(127, 0, 0, 53), 15053};
  EXPECT_THAT(WhyNot({.listen = {any}, .resolvers = {{other_loopback, ""}}}).why,
              testing::HasSubstr("127.0.0.53:15053 is this forwarder itself"));
  const SocketAddress elsewhere{IpAddress::V4(192, 0, 2, 1), 15053};
  EXPECT_NO_THROW(DnsForwarder({.listen = {any}, .resolvers = {{elsewhere, ""}}}));
  EXPECT_NO_THROW(DnsForwarder({.listen = {listen}, .resolvers = {{other_loopback, ""}}}));
}

TEST(DnsForwarderLimits, SaysWhatIsWrongWithItsOptions) {
  const SocketAddress address = FreeAddress(Family::kIpv4);
  EXPECT_EQ(WhyNot({.listen = {address}}).why, "no resolver to ask");
  EXPECT_EQ(WhyNot({.resolvers = {{address, ""}}}).why, "no address to listen on");
  const Nameserver scoped{{IpAddress::Parse("fe80::1"), 53}, "nonexistent0"};
  EXPECT_EQ(WhyNot({.listen = {address}, .resolvers = {scoped}}).why,
            "there is no interface nonexistent0");
  const FakeDnsServer taken(Family::kIpv4, Knows);
  EXPECT_EQ(WhyNot({.listen = {taken.address()}, .resolvers = {{address, ""}}}).why,
            "Address already in use");
}

TEST(DnsForwarderLimits, StopsInTheMiddleOfEverything) {
  const FakeDnsServer silent(Family::kIpv4, IsSilent);
  Running running({&silent}, {.timeout = std::chrono::minutes(1)});
  const DnsClient stream(running.address, true);
  const DnsClient datagrams(running.address, false);
  for (const DnsClient* const client : {&stream, &datagrams}) {
    client->Send(TestMessage{.name = "a.example"}.Bytes());  // asked once, awaited by two clients
    client->Send(TestMessage{.name = client == &stream ? "b.example" : "c.example"}.Bytes());
  }
  ASSERT_TRUE(Eventually([&] { return silent.asked() == 3 && running.stats().coalesced == 1; }));
  const auto begin = steady_clock::now();
  running.forwarder->Stop();
  running.forwarder->Stop();
  EXPECT_LT(steady_clock::now() - begin, kPatience);
  EXPECT_EQ(stream.Receive(), std::nullopt);
  EXPECT_EQ(running.stats().queries, 4U);
}

TEST(DnsListenAddresses, AreTheLoopbacks) {
  std::vector<SocketAddress> expected{{IpAddress::V4(127, 0, 0, 1), 15053}};
  if (HasLoopback(Family::kIpv6)) expected.push_back({IpAddress::Parse("::1"), 15053});
  EXPECT_EQ(DnsListenAddresses(15053), expected);
}

}  // namespace
}  // namespace sluice::dns
