// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "dns/forwarder.h"
#include "test/unit/dns/dns_fixture.h"
#include "test/unit/dns/dns_peers.h"

// A forwarder between the peers of dns_peers.h.
namespace sluice::dns {

// The answer to `query` from a server that knows everything.
inline TestMessage AnswerTo(const SeenQuery& query, std::uint32_t ttl = 60) {
  const DnsRequest request = ParseDnsRequest(query.bytes);
  std::string name;
  const std::string& wire = request.query.question.name;
  for (std::size_t at = 0; wire.at(at) != 0; at += static_cast<std::size_t>(wire[at]) + 1) {
    if (at > 0) name += '.';
    name += wire.substr(at + 1, static_cast<std::size_t>(wire[at]));
  }
  return {.id = query.id(),
          .flags = kAnswerFlags,
          .name = name,
          .type = request.query.question.type,
          .answers = {TestA(ttl)}};
}

inline std::vector<DnsBytes> Knows(const SeenQuery& query) { return {AnswerTo(query).Bytes()}; }
inline std::vector<DnsBytes> IsSilent(const SeenQuery&) { return {}; }
inline std::vector<DnsBytes> Fails(const SeenQuery& query) {
  TestMessage answer = AnswerTo(query);
  answer.flags |= 2;
  answer.answers.clear();
  return {answer.Bytes()};
}

// Longer than 512 bytes; truncated over UDP.
inline std::vector<DnsBytes> IsVerbose(const SeenQuery& query) {
  TestMessage answer = AnswerTo(query);
  answer.answers.assign(query.tcp ? 100 : 0, TestA(60));
  if (!query.tcp) answer.flags |= dns_flag::kTruncated;
  return {answer.Bytes()};
}

// A forwarder that asks `servers`, started on a free port.
struct Running {
  SocketAddress address;
  std::unique_ptr<DnsForwarder> forwarder;

  explicit Running(const std::vector<const FakeDnsServer*>& servers,
                   DnsForwarderOptions options = {}, Family family = Family::kIpv4) {
    for (const FakeDnsServer* const server : servers) {
      options.resolvers.push_back({server->address(), ""});
    }
    for (int attempt = 0;; ++attempt) {
      address = FreeAddress(family);
      options.listen = {address};
      forwarder = std::make_unique<DnsForwarder>(options);
      try {
        forwarder->Start();
        return;
      } catch (const Error&) {
        if (attempt == 20) throw;
      }
    }
  }

  DnsStats stats() const { return forwarder->stats(); }
};

inline std::optional<DnsMessage> Ask(const Running& running, const TestMessage& query,
                                     bool tcp = false) {
  const DnsClient client(running.address, tcp);
  client.Send(query.Bytes());
  const auto reply = client.Receive();
  return reply ? ParseDnsMessage(*reply) : std::nullopt;
}

// Waits until `done` is true; false if that takes too long.
template <typename Predicate>
bool Eventually(Predicate done) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace sluice::dns
