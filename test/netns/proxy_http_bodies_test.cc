// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Large bodies of HTTP/1 through two proxies, which splice them, and what is before and behind
// them.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "test/netns/proxy_http_fixture.h"
#include "test/netns/streams.h"

namespace sluice::testing_support {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t kLarge = 24'000'000;

std::string Content(std::uint64_t seed, std::size_t size = kLarge) {
  std::string content(size, '\0');
  Pattern(seed).Fill(0, content.data(), content.size());
  return content;
}

std::string LengthLine(std::size_t size) {
  return "Content-Length: " + std::to_string(size) + "\r\n\r\n";
}

// The head that is next, byte by byte: nothing behind it is read.
std::string ReceiveHead(Peer& peer) {
  std::string head;
  while (!head.ends_with("\r\n\r\n")) {
    const std::string byte = peer.Receive(1);
    if (byte.empty()) break;
    head += byte;
  }
  return head;
}

class HttpBodiesTest : public HttpTest {
 protected:
  // With buffers that are full long before a body is through.
  void StartWithLimitedBuffers() {
    LimitSocketBuffers(client(), 1'000'000, 1'000'000);
    LimitSocketBuffers(server(), 1'000'000, 1'000'000);
    StartHttp();
  }
  std::string Digest(const std::string& data) const {
    return RunCommand(client(), {.argv = {"sha256sum"}, .input = data}).out.substr(0, 64);
  }
  // Whether bytes are in a pipe, where they are while the receiver does not read. `before`: the
  // pipes that the proxy had before.
  static bool HoldsBytesInPipes(const ProxyProcess& proxy, const std::set<std::string>& before) {
    return Eventually([&] {
      for (const auto& [name, path] : Pipes(proxy)) {
        const UniqueFd pipe(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        int bytes = 0;
        if (!before.contains(name) && pipe && ::ioctl(pipe.get(), FIONREAD, &bytes) == 0 &&
            bytes > 0) {
          return true;
        }
      }
      return false;
    });
  }
  static std::set<std::string> PipeNames(const ProxyProcess& proxy) {
    std::set<std::string> names;
    for (const auto& [name, path] : Pipes(proxy)) names.insert(name);
    return names;
  }

 private:
  // "pipe:[1234]", and a path to open it.
  static std::vector<std::pair<std::string, std::string>> Pipes(const ProxyProcess& proxy) {
    std::vector<std::pair<std::string, std::string>> pipes;
    const std::string fds = "/proc/" + std::to_string(proxy.process().pid()) + "/fd";
    for (const auto& each : std::filesystem::directory_iterator(fds)) {
      std::error_code closed;
      std::string name = std::filesystem::read_symlink(each.path(), closed).string();
      if (name.starts_with("pipe:")) pipes.emplace_back(std::move(name), each.path().string());
    }
    return pipes;
  }
};

INSTANTIATE_TEST_SUITE_P(, HttpBodiesTest, testing::Values(Family::kIpv4, Family::kIpv6),
                         FamilyName);

// From nginx to curl and from curl to Python, several on one connection.
TEST_P(HttpBodiesTest, OfRealPrograms) {
  StartHttp();
  const Process python = StartPython();
  const Nginx nginx(server(), GetParam() == Family::kIpv4 ? "listen 8081;" : "listen [::]:8081;");
  const std::string content = Content(1);
  nginx.Serve("large", content);
  nginx.Serve("small", "small");
  ASSERT_TRUE(Eventually([&] { return Curl({Url("/small", 8081)}).out == "small"; }))
      << nginx.Err();
  const CommandResult got =
      Curl({"-w", "|%{num_connects}|", Url("/large", 8081), Url("/small", 8081),
            Url("/large?again", 8081), Url("/small", 8081)});
  EXPECT_TRUE(got.out == content + "|1|small|0|" + content + "|0|small|0|") << got.err;
  for (ProxyProcess* const proxy : {&*client_proxy_, &*server_proxy_}) {
    for (const char* const path : {"/large", "/large?again"}) {
      const boost::json::object line = proxy->LogLine(RequestTo(path));
      EXPECT_EQ(line.at("bytes_sent").to_number<std::size_t>(), kLarge);
      EXPECT_EQ(Text(line, "response_flags"), "-");
    }
  }
  // The answer has the digest of what has arrived.
  const std::string expected = std::to_string(kLarge) + " " + Digest(content);
  EXPECT_EQ(Curl({"-T", "-", "-H", "Expect:", Url("/chunks")}, content).out, expected);
  const CommandResult put = Curl(
      {"-T", "-", "-H", "Transfer-Encoding:", "-H", "Content-Length: " + std::to_string(kLarge),
       Url("/length"), "--next", "-sS", "-g", Url("/behind")},
      content);
  EXPECT_EQ(put.out, expected + "/behind") << put.err;
}

// With each choice of copying and splicing, requests are waiting behind a large body.
TEST_P(HttpBodiesTest, PipelinedRequestsBehindALargeOne) {
  const std::string content = Content(2);
  for (const std::string splice : {"auto", "on", "off"}) {
    StartProxies({"--http=auto", "--splice=" + splice});
    const Process python = StartPython();
    auto peer = Peer::Connect(client(), ServerAt(kPort));
    ASSERT_TRUE(peer);
    std::thread sender([&] {
      peer->Send("PUT /1 HTTP/1.1\r\nHost: a\r\n" + LengthLine(kLarge) + content +
                 "GET /headers HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: forged\r\n\r\n"
                 "PUT /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" +
                 LengthLine(kLarge) + content);
    });
    End end{};
    const std::string all = peer->ReceiveAll(end);
    sender.join();
    EXPECT_EQ(end, End::kFin);
    const std::string digest = Digest(content);
    EXPECT_THAT(all, HasSubstr(digest + "HTTP/1.1 200 OK\r\n")) << splice;
    EXPECT_THAT(all, HasSubstr("x-b3-traceid")) << splice;
    EXPECT_THAT(all, testing::Not(HasSubstr("forged"))) << splice;
    EXPECT_THAT(all, EndsWith(digest)) << splice;
    for (const char* const path : {"/1", "/3"}) {
      EXPECT_EQ(
          server_proxy_->LogLine(RequestTo(path)).at("bytes_received").to_number<std::size_t>(),
          kLarge);
    }
    client_proxy_.reset();
    server_proxy_.reset();
  }
}

// Both proxies have pipes while a body is on its way, and the connection goes on after it. One that
// is told to leave lets the body end first.
TEST_P(HttpBodiesTest, AreSplicedAndTheConnectionGoesOn) {
  StartWithLimitedBuffers();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  const auto in_client = PipeNames(*client_proxy_);
  const auto in_server = PipeNames(*server_proxy_);
  const std::string content = Content(3);
  for (const std::string framing : {"length", "chunk"}) {
    pair->client.Send("GET /" + framing + " HTTP/1.1\r\nHost: a\r\n\r\n");
    ASSERT_THAT(ReceiveHead(pair->server), StartsWith("GET /" + framing + " "));
    const bool in_chunk = framing == "chunk";
    std::thread sender([&] {
      pair->server.Send("HTTP/1.1 200 OK\r\n" +
                        (in_chunk ? std::string("Transfer-Encoding: chunked\r\n\r\n16e3600\r\n")
                                  : LengthLine(kLarge)));
      pair->server.Send(content);
      if (in_chunk) pair->server.Send("\r\n0\r\n\r\n");
    });
    EXPECT_THAT(ReceiveHead(pair->client), StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_TRUE(HoldsBytesInPipes(*client_proxy_, in_client)) << framing;
    EXPECT_TRUE(HoldsBytesInPipes(*server_proxy_, in_server)) << framing;
    if (in_chunk) {
      server_proxy_->process().Signal(SIGTERM);
      EXPECT_TRUE(Eventually([&] { return server_proxy_->Metric("sluice_draining") == 1; }));
    }
    if (in_chunk) {
      EXPECT_EQ(pair->client.Receive(9), "16e3600\r\n");
    }
    EXPECT_TRUE(pair->client.Receive(kLarge) == content) << framing;
    sender.join();
    if (in_chunk) {
      EXPECT_EQ(pair->client.Receive(7), "\r\n0\r\n\r\n");
    }
    EXPECT_EQ(client_proxy_->LogLine(RequestTo("/" + framing)).at("bytes_sent"), kLarge);
  }
  // The next answer is the last one.
  pair->client.Send("GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_THAT(ReceiveHead(pair->server), StartsWith("GET /last "));
  pair->server.Send("HTTP/1.1 200 OK\r\n" + LengthLine(4) + "last");
  End end{};
  const std::string last = pair->client.ReceiveAll(end);
  EXPECT_THAT(last, HasSubstr("\r\nconnection: close\r\n"));
  EXPECT_THAT(last, EndsWith("last"));
  EXPECT_EQ(end, End::kFin);
}

// What follows an Upgrade is a connection like any other.
TEST_P(HttpBodiesTest, TunnelsAreSpliced) {
  StartWithLimitedBuffers();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  const auto before = PipeNames(*client_proxy_);
  pair->client.Send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
  ASSERT_THAT(ReceiveHead(pair->server), StartsWith("GET / "));
  pair->server.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n");
  ASSERT_THAT(ReceiveHead(pair->client), StartsWith("HTTP/1.1 101 "));
  const std::string content = Content(4);
  for (auto [from, to] :
       {std::pair(&pair->client, &pair->server), {&pair->server, &pair->client}}) {
    std::thread sender([&] { from->Send(content); });
    EXPECT_TRUE(HoldsBytesInPipes(*client_proxy_, before));
    EXPECT_TRUE(to->Receive(kLarge) == content);
    sender.join();
  }
}

// recv(2) stops before urgent data, and splice(2) never gets past it.
TEST_P(HttpBodiesTest, UrgentDataInsideArrivesInItsPlace) {
  for (const std::string splice : {"auto", "on"}) {
    StartProxies({"--http=auto", "--splice=" + splice});
    Acceptor acceptor(server(), GetParam());
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    const std::string content = Content(5, 4'000'000);
    pair->client.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    ReceiveHead(pair->server);
    std::thread sender([&] {
      pair->server.Send("HTTP/1.1 200 OK\r\n" + LengthLine(2 * content.size() + 1) + content);
      EXPECT_EQ(::send(pair->server.fd(), "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
      pair->server.Send(content);
    });
    ReceiveHead(pair->client);
    const int on = 1;
    EXPECT_EQ(::setsockopt(pair->client.fd(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)), 0);
    EXPECT_TRUE(pair->client.Receive(2 * content.size() + 1) == content + '!' + content) << splice;
    sender.join();
    pair->client.Send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_THAT(ReceiveHead(pair->server), StartsWith("GET /next "));
    client_proxy_.reset();
    server_proxy_.reset();
  }
}

// Cut off in the middle, with bytes in pipes, from either side.
TEST_P(HttpBodiesTest, AResetInTheMiddleIsAResetToTheOtherSide) {
  StartWithLimitedBuffers();
  Acceptor acceptor(server(), GetParam());
  const auto before = PipeNames(*client_proxy_);
  for (const bool by_server : {true, false}) {
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    const std::string path = by_server ? "/server" : "/client";
    pair->client.Send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
    ReceiveHead(pair->server);
    pair->server.Send("HTTP/1.1 200 OK\r\n" + LengthLine(kLarge));
    SendUntilFull(pair->server, Pattern(6), 0, kLarge);
    EXPECT_TRUE(HoldsBytesInPipes(*client_proxy_, before));
    (by_server ? pair->server : pair->client).Reset();
    Peer& other = by_server ? pair->client : pair->server;
    if (by_server) ReceiveHead(other);
    EXPECT_EQ(other.WaitForEnd(), End::kReset);
    const boost::json::object line = client_proxy_->LogLine(RequestTo(path));
    EXPECT_EQ(Text(line, "response_flags"), by_server ? "UC" : "DC");
    EXPECT_LT(line.at("bytes_sent").to_number<std::size_t>(), kLarge);
  }
}

// A server that has seen enough answers in the middle of an upload, and closes.
TEST_P(HttpBodiesTest, AnEarlyAnswerEndsALargeUpload) {
  StartHttp();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  pair->client.Send("PUT / HTTP/1.1\r\nHost: a\r\n" + LengthLine(4 * kLarge));
  std::thread sender([&] { pair->client.Send(Content(7)); });
  ReceiveHead(pair->server);
  EXPECT_EQ(pair->server.Receive(5'000'000).size(), 5'000'000U);
  pair->server.Send("HTTP/1.1 413 Too Large\r\nConnection: close\r\n" + LengthLine(2) + "no");
  EXPECT_THAT(ReceiveHead(pair->client), StartsWith("HTTP/1.1 413 "));
  EXPECT_EQ(pair->client.Receive(2), "no");
  EXPECT_EQ(pair->server.Receive(5'000'000).size(), 5'000'000U) << "the upload goes on";
  pair->server.Reset();
  sender.join();
  const boost::json::object line = server_proxy_->LogLine(RequestTo("/"));
  EXPECT_EQ(line.at("response_code"), 413);
  EXPECT_GE(line.at("bytes_received").to_number<std::size_t>(), 10'000'000U);
}

}  // namespace
}  // namespace sluice::testing_support
