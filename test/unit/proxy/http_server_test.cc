// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/http_server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <atomic>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/socket_address.h"
#include "base/unique_fd.h"

namespace sluice::proxy {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// More than any port serves concurrently.
constexpr int kCrowd = 64;

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::uint16_t FreePort() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  return ntohs(address.sin_port);
}

class HttpClient {
 public:
  explicit HttpClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval patience{.tv_sec = 60, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const sockaddr_in address = Loopback(port);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
  }

  void Send(std::string_view text) const {
    EXPECT_EQ(::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  // Everything up to the end of the connection.
  std::string ReceiveAll() const {
    std::string out;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::recv(fd_.get(), buffer, sizeof(buffer), 0)) > 0;) {
      out.append(buffer, static_cast<std::size_t>(got));
    }
    return out;
  }

  // Waits until `size` bytes are there.
  std::string Receive(std::size_t size) const {
    std::string out(size, '\0');
    const ssize_t got = ::recv(fd_.get(), out.data(), size, MSG_WAITALL);
    out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return out;
  }

 private:
  UniqueFd fd_;
};

std::string Ask(std::uint16_t port, std::string_view version = "1.1") {
  const HttpClient client(port);
  client.Send("GET / HTTP/" + std::string(version) + "\r\nHost: x\r\nConnection: close\r\n\r\n");
  return client.ReceiveAll();
}

HttpHandler Says(std::string text) {
  return [text = std::move(text)](const HttpRequest&) { return HttpResponse{.body = text}; };
}

TEST(HttpServers, OneCrowdedPortDoesNotSilenceAnother) {
  const std::uint16_t crowded = FreePort();
  const std::uint16_t quiet = FreePort();
  HttpServers servers;
  servers.Listen(crowded, true, Says("metrics"));
  servers.Listen(quiet, true, Says("ready"));
  servers.Start();
  std::vector<HttpClient> idle;
  for (int i = 0; i < kCrowd; ++i) idle.emplace_back(crowded);
  EXPECT_THAT(Ask(quiet), EndsWith("\r\n\r\nready"));
}

TEST(HttpServers, ACrowdedPortStillAnswers) {
  const std::uint16_t port = FreePort();
  HttpServers servers;
  servers.Listen(port, true, Says("ready"));
  servers.Start();
  std::vector<HttpClient> idle;
  for (int i = 0; i < kCrowd; ++i) idle.emplace_back(port);
  EXPECT_THAT(Ask(port), EndsWith("\r\n\r\nready"));
  EXPECT_EQ(idle.front().ReceiveAll(), "") << "closed for those that came after it";
}

TEST(HttpServers, SendsALongAnswerInPieces) {
  const std::uint16_t port = FreePort();
  HttpServers servers;
  servers.Listen(port, true, [](const HttpRequest&) {
    return HttpResponse{.body = "one,", .next_piece = [left = 2]() mutable -> std::string {
                          return left-- > 0 ? "more," : "";
                        }};
  });
  servers.Start();
  const std::string answer = Ask(port);
  EXPECT_THAT(answer, HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n4\r\none,\r\n5\r\nmore,\r\n5\r\nmore,\r\n0\r\n\r\n"));
  const std::string old = Ask(port, "1.0");
  EXPECT_THAT(old, Not(HasSubstr("chunked")));
  EXPECT_THAT(old, EndsWith("\r\n\r\none,more,more,"));
}

TEST(HttpServers, MakesNoMorePiecesThanAreTaken) {
  const std::uint16_t port = FreePort();
  const std::uint16_t other = FreePort();
  std::atomic<int> made = 0;
  HttpServers servers;
  servers.Listen(other, true, Says("ready"));
  servers.Listen(port, true, [&made](const HttpRequest&) {
    return HttpResponse{.body = {}, .next_piece = [&made] {
                          return ++made <= 10'000 ? std::string(64 * 1024, 'x') : std::string();
                        }};
  });
  servers.Start();
  const HttpClient client(port);
  client.Send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.Receive(12), StartsWith("HTTP/1.0 200"));
  // Others are served meanwhile; the sockets' buffers hold a few MiB.
  EXPECT_THAT(Ask(other), EndsWith("\r\n\r\nready"));
  EXPECT_LT(made, 1000);
}

}  // namespace
}  // namespace sluice::proxy
