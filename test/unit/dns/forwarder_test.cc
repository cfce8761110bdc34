// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "dns/forwarder.h"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/dns/dns_forwarder_fixture.h"

namespace sluice::dns {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class DnsForwarderFamilies : public testing::TestWithParam<std::tuple<Family, Family, bool>> {};

TEST_P(DnsForwarderFamilies, AnswersFromAServerAndThenFromItsCache) {
  const auto [client_family, server_family, tcp] = GetParam();
  if (!HasLoopback(client_family) || !HasLoopback(server_family)) {
    GTEST_SKIP() << "IPv6 is disabled on this machine's loopback interface";
  }
  const FakeDnsServer server(server_family, Knows);
  const Running running({&server}, {}, client_family);
  for (const std::uint16_t id : std::initializer_list<std::uint16_t>{7, 8}) {
    const auto reply = Ask(running, {.id = id}, tcp);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->header.id, id);
    EXPECT_EQ(reply->header.flags, kAnswerFlags);
    ASSERT_EQ(reply->records.size(), 1U);
    EXPECT_EQ(reply->records[0].type, kTypeA);
  }
  EXPECT_EQ(server.asked(), 1);
  EXPECT_EQ(running.stats().queries, 2U);
  EXPECT_EQ(running.stats().cache_hits, 1U);
  EXPECT_EQ(running.stats().upstream_queries, 1U);
}

INSTANTIATE_TEST_SUITE_P(All, DnsForwarderFamilies,
                         testing::Combine(testing::Values(Family::kIpv4, Family::kIpv6),
                                          testing::Values(Family::kIpv4, Family::kIpv6),
                                          testing::Bool()));

TEST(DnsForwarder, CountsTheTtlDown) {
  const FakeDnsServer server(Family::kIpv4, Knows);
  const Running running({&server});
  EXPECT_EQ(Ask(running, {})->records.at(0).ttl, 60U);
  EXPECT_TRUE(Eventually([&] { return Ask(running, {})->records.at(0).ttl < 60; }));
  EXPECT_EQ(server.asked(), 1);
}

TEST(DnsForwarder, AsksAgainWhenTheTtlIsOver) {
  const FakeDnsServer server(Family::kIpv4, [](const SeenQuery& query) {
    return std::vector<DnsBytes>{AnswerTo(query, query.number == 0 ? 1 : 0).Bytes()};
  });
  const Running running({&server});
  EXPECT_TRUE(Ask(running, {}));
  EXPECT_TRUE(Eventually([&] { return Ask(running, {}) && server.asked() == 2; }));
  Ask(running, {});  // a TTL of 0 is for one client
  EXPECT_EQ(server.asked(), 3);
}

TEST(DnsForwarder, AsksOverTcpWhenTheAnswerIsTruncated) {
  const FakeDnsServer server(Family::kIpv4, IsVerbose);
  const Running running({&server});
  const auto small = Ask(running, {});
  ASSERT_TRUE(small);
  EXPECT_NE(small->header.flags & dns_flag::kTruncated, 0);
  EXPECT_TRUE(small->records.empty());
  const auto large = Ask(running, {.additionals = {TestOpt(4096)}});
  EXPECT_EQ(large->header.flags & dns_flag::kTruncated, 0);
  EXPECT_EQ(large->records.size(), 101U);
  const auto stream = Ask(running, {}, true);
  EXPECT_EQ(stream->records.size(), 100U);
  EXPECT_EQ(server.asked(), 2) << "once over UDP, once over TCP";
  EXPECT_EQ(running.stats().tcp_retries, 1U);
}

TEST(DnsForwarder, MovesOnFromASilentServerAndRemembersIt) {
  const FakeDnsServer silent(Family::kIpv4, IsSilent);
  const FakeDnsServer second(Family::kIpv4, Knows);
  // Long enough for the second one to answer on a busy machine.
  constexpr auto kTimeout = std::chrono::seconds(1);
  const Running running({&silent, &second}, {.timeout = kTimeout});
  const auto begin = steady_clock::now();
  EXPECT_EQ(Ask(running, {})->records.size(), 1U);
  EXPECT_GE(steady_clock::now() - begin, kTimeout);
  EXPECT_EQ(running.stats().upstream_timeouts, 1U);
  EXPECT_EQ(Ask(running, {.name = "b.example"})->records.size(), 1U);
  EXPECT_EQ(silent.asked(), 1) << "the second one is asked first for a while";
}

TEST(DnsForwarder, MovesOnFromABrokenServer) {
  const FakeDnsServer broken(Family::kIpv4, Fails);
  const FakeDnsServer second(Family::kIpv4, Knows);
  const Running running({&broken, &second});
  EXPECT_EQ(Ask(running, {})->header.rcode(), DnsRcode::kNoError);
  EXPECT_EQ(broken.asked(), 1);
}

TEST(DnsForwarder, SaysServfailWhenNobodyAnswers) {
  const FakeDnsServer broken(Family::kIpv4, Fails);
  const Running failing({&broken});
  EXPECT_EQ(Ask(failing, {})->header.rcode(), DnsRcode::kServFail);
  EXPECT_EQ(broken.asked(), 1);
  Ask(failing, {});
  EXPECT_EQ(broken.asked(), 2) << "not kept";

  const FakeDnsServer silent(Family::kIpv4, IsSilent);
  const Running waiting({&silent}, {.timeout = milliseconds(50), .attempts = 3});
  EXPECT_EQ(Ask(waiting, {})->header.rcode(), DnsRcode::kServFail);
  EXPECT_EQ(silent.asked(), 3);
  EXPECT_EQ(waiting.stats().upstream_failures, 1U);

  // Nobody listens: ICMP says so, long before the timeout.
  const Running alone(
      {}, {.resolvers = {{FreeAddress(Family::kIpv4), ""}}, .timeout = std::chrono::minutes(1)});
  EXPECT_EQ(Ask(alone, {})->header.rcode(), DnsRcode::kServFail);
}

TEST(DnsForwarder, BelievesNoForgedResponse) {
  const FakeDnsServer server(Family::kIpv4, [](const SeenQuery& query) {
    std::vector<DnsBytes> out(4);
    TestMessage forged = AnswerTo(query, 666);
    forged.id ^= 1;
    out[0] = forged.Bytes();
    forged = AnswerTo(query, 666);
    forged.name = "b.example";
    out[1] = forged.Bytes();
    out[2] = AnswerTo(query, 666).Bytes();
    out[2].pop_back();
    out[3] = AnswerTo(query, 60).Bytes();
    return out;
  });
  const Running running({&server});
  EXPECT_EQ(Ask(running, {})->records.at(0).ttl, 60U);
  EXPECT_EQ(running.stats().upstream_mismatches, 3U);
}

TEST(DnsForwarder, BelievesNoOtherSender) {
  const FakeDnsServer server(Family::kIpv4, [](const SeenQuery& query) {
    // The right answer from the wrong address.
    const DnsClient stranger({IpAddress::V4(127, 0, 0, 1), query.client_port}, false);
    stranger.Send(AnswerTo(query, 666).Bytes());
    return Knows(query);
  });
  const Running running({&server});
  EXPECT_EQ(Ask(running, {})->records.at(0).ttl, 60U);
  EXPECT_EQ(running.stats().upstream_mismatches, 0U) << "the kernel did not let it through";
}

TEST(DnsForwarder, GivesUpOnAFloodOfForgedResponses) {
  const FakeDnsServer server(Family::kIpv4, [](const SeenQuery& query) {
    TestMessage forged = AnswerTo(query);
    forged.id ^= 1;
    return std::vector<DnsBytes>(100, forged.Bytes());
  });
  const Running running({&server}, {.timeout = std::chrono::minutes(1), .attempts = 1});
  EXPECT_EQ(Ask(running, {})->header.rcode(), DnsRcode::kServFail);
  EXPECT_EQ(running.stats().upstream_mismatches, 64U);
}

TEST(DnsForwarder, AsksUnderRandomIdsFromRandomPorts) {
  std::mutex mutex;
  std::set<std::uint16_t> ids;
  std::set<std::uint16_t> ports;
  const FakeDnsServer server(Family::kIpv4, [&](const SeenQuery& query) {
    const std::lock_guard lock(mutex);
    ids.insert(query.id());
    ports.insert(query.client_port);
    return Knows(query);
  });
  const Running running({&server});
  for (int i = 0; i < 32; ++i) {
    EXPECT_TRUE(Ask(running, {.id = 1, .name = "n" + std::to_string(i) + ".example"}));
  }
  const std::lock_guard lock(mutex);
  // Duplicates happen: three among 32 ids once in a million runs, among the 28,000 ports once in
  // 100,000.
  EXPECT_GE(ids.size(), 30U);
  EXPECT_GE(ports.size(), 29U);
  EXPECT_GT(*ids.rbegin() - *ids.begin(), 64) << "one after another";
}

TEST(DnsForwarder, AsksOnceWhatManyWantToKnow) {
  std::atomic<bool> may_answer{false};
  const FakeDnsServer server(Family::kIpv4, [&](const SeenQuery& query) {
    Eventually([&] { return may_answer.load(); });
    return Knows(query);
  });
  const Running running({&server}, {.timeout = std::chrono::minutes(1)});
  std::vector<std::unique_ptr<DnsClient>> clients;
  for (std::uint16_t id = 0; id < 5; ++id) {
    clients.push_back(std::make_unique<DnsClient>(running.address, id == 4));
    clients.back()->Send(TestMessage{.id = id}.Bytes());
  }
  EXPECT_TRUE(Eventually([&] { return running.stats().coalesced == 4; }));
  may_answer = true;
  for (std::uint16_t id = 0; id < 5; ++id) {
    const auto reply = clients[id]->Receive();
    ASSERT_TRUE(reply);
    EXPECT_EQ(ParseDnsMessage(*reply)->header.id, id);
    EXPECT_EQ(ParseDnsMessage(*reply)->records.size(), 1U);
  }
  EXPECT_EQ(server.asked(), 1);
}

// If the proxy's own queries are captured, each comes back as a client's query.
TEST(DnsForwarder, DoesNotGoRoundInALoop) {
  std::promise<SocketAddress> where;
  const std::shared_future<SocketAddress> address(where.get_future());
  const FakeDnsServer mirror(Family::kIpv4, [address](const SeenQuery& query) {
    DnsClient(address.get(), false).Send(query.bytes);
    return std::vector<DnsBytes>{};
  });
  const Running running({&mirror}, {.timeout = milliseconds(1000), .attempts = 2});
  where.set_value(running.address);
  EXPECT_EQ(Ask(running, {})->header.rcode(), DnsRcode::kServFail);
  EXPECT_EQ(mirror.asked(), 2);
  EXPECT_EQ(running.stats().coalesced, 2U);
}

TEST(DnsForwarder, AnswersPipelinedQueriesEachWhenItCan) {
  const FakeDnsServer silent(Family::kIpv4, [](const SeenQuery& query) {
    return query.number == 0 ? IsSilent(query) : Knows(query);
  });
  const Running running({&silent}, {.timeout = milliseconds(1000)});
  const DnsClient client(running.address, true);
  const DnsBytes first = TestMessage{.id = 1, .name = "slow.example"}.Bytes();
  client.Send(first);
  ASSERT_TRUE(Eventually([&] { return silent.asked() == 1; }));
  client.Send(TestMessage{.id = 2, .name = "fast.example"}.Bytes());
  client.ShutdownWrite();  // the answers still come
  const auto fast = client.Receive();
  ASSERT_TRUE(fast);
  EXPECT_EQ(ParseDnsMessage(*fast)->header.id, 2);
  const auto slow = client.Receive();
  ASSERT_TRUE(slow);
  EXPECT_EQ(ParseDnsMessage(*slow)->header.id, 1);
  EXPECT_EQ(client.Receive(), std::nullopt) << "closed behind the last answer";
}

TEST(DnsForwarder, ReadsPipelinedQueriesHoweverTheyArrive) {
  const FakeDnsServer server(Family::kIpv4, Knows);
  const Running running({&server}, {.max_pipelined = 2});
  const DnsClient client(running.address, true);
  DnsBytes both;
  for (std::uint16_t id = 0; id < 20; ++id) {
    const DnsBytes query = TestMessage{.id = id, .name = std::to_string(id) + ".example"}.Bytes();
    Put16(both, static_cast<unsigned>(query.size()));
    both.insert(both.end(), query.begin(), query.end());
  }
  const auto middle = both.begin() + 1;
  client.SendRaw(DnsBytes(both.begin(), middle));
  client.SendRaw(DnsBytes(middle, both.end()));
  std::set<int> ids;
  for (int i = 0; i < 20; ++i) {
    const auto reply = client.Receive();
    ASSERT_TRUE(reply) << i;
    ids.insert(ParseDnsMessage(*reply)->header.id);
  }
  EXPECT_EQ(ids.size(), 20U);
}

TEST(DnsForwarder, RefusesWhatIsNoQuestion) {
  const FakeDnsServer server(Family::kIpv4, Knows);
  const Running running({&server});
  EXPECT_EQ(Ask(running, {.name = "-"})->header.rcode(), DnsRcode::kFormErr);
  EXPECT_EQ(Ask(running, {.flags = 5 << 11})->header.rcode(), DnsRcode::kNotImp);
  EXPECT_EQ(Ask(running, {.flags = 5 << 11}, true)->header.rcode(), DnsRcode::kNotImp);

  const DnsClient datagrams(running.address, false);
  datagrams.Send(TestMessage{.flags = kAnswerFlags}.Bytes());
  datagrams.Send({1, 2, 3});
  datagrams.Send(TestMessage{.id = 9}.Bytes());
  EXPECT_EQ(ParseDnsMessage(*datagrams.Receive())->header.id, 9) << "and nothing before it";
  const DnsClient stream(running.address, true);
  stream.Send(TestMessage{.flags = kAnswerFlags}.Bytes());
  EXPECT_EQ(stream.Receive(), std::nullopt);
  EXPECT_EQ(running.stats().refused_queries, 6U);
  EXPECT_EQ(server.asked(), 1);
}

}  // namespace
}  // namespace sluice::dns
