// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// sluice-load: a server and a client that put load on whatever is between them, for scripts/bench
// proxy and scripts/bench thresholds.
//
//   sluice-load serve PORT COUNT              listens on COUNT ports from PORT on
//   sluice-load bulk|short|ping|idle ADDRESS PORT COUNT CONNECTIONS SECONDS
//   sluice-load fetch|http ADDRESS PORT COUNT CONNECTIONS SECONDS BYTES
//
// The server echoes each byte, but streams forever to a client whose first byte is 'S', and answers
// each byte with BYTES bytes to one that begins with 'F' and that number, as four bytes in host
// order. To one that begins with 'G' it speaks HTTP/1.1. The client, after a warm-up, prints
// "begin", works for SECONDS, prints "end" and one line of JSON; `idle` opens the connections, uses
// each once, prints "ready" and waits for the end of standard input. Each is one thread with one
// event loop, and avoids copying: the proxy is what is measured.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "test/bench/load_server.h"
#include "test/bench/load_sockets.h"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;

// The size of a small request and of its answer.
constexpr std::size_t kMessage = 64;
// Caches, windows and the proxy's choice between copying and splicing settle in this time.
constexpr std::chrono::milliseconds kWarmUp{400};

void RaiseDescriptorLimit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// The kernel sends a SYN or an answer to one again after a second; nothing else takes that long
// here.
constexpr std::chrono::milliseconds kStall{900};

constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::string_view kOk = "HTTP/1.1 200 ";

// What a program sends to another one inside of a cluster.
std::string HttpRequest(std::uint32_t answer_bytes) {
  return "GET /carts/1234/items?bytes=" + std::to_string(answer_bytes) +
         " HTTP/1.1\r\nHost: cart.shop.svc.cluster.local:9000\r\nUser-Agent: sluice-load/1.0\r\n"
         "Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Forwarded-For: 192.0.2.7\r\n"
         "Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";
}

enum class Work : std::uint8_t { kBulk, kShort, kPing, kIdle, kFetch, kHttp };

bool HasSize(Work work) { return work == Work::kFetch || work == Work::kHttp; }

struct Connection {
  int fd = -1;
  std::size_t answered = 0;  // bytes received of the current answer
  std::size_t matched = 0;   // kHttp: how much of kHeadEnd has come
  Clock::time_point asked{};
  Clock::time_point opened{};
};

class Client {
 public:
  // `answer_bytes` is for kFetch and kHttp.
  Client(Work work, const char* address, std::uint16_t port, int ports, int connections,
         std::uint32_t answer_bytes)
      : work_(work),
        answer_bytes_(HasSize(work) ? answer_bytes : kMessage),
        port_(port),
        ports_(ports),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        connections_(static_cast<std::size_t>(connections)),
        buffer_(kChunk) {
    address_.sin_family = AF_INET;
    if (::inet_pton(AF_INET, address, &address_.sin_addr) != 1) Fail(address);
    message_.assign(kMessage, 'e');
    if (work_ == Work::kBulk) message_.assign(1, 'S');
    if (work_ == Work::kFetch) message_.assign(1, 'f');
    if (work_ == Work::kHttp) message_ = HttpRequest(answer_bytes_);
  }

  void Run(std::chrono::milliseconds time) {
    for (Connection& connection : connections_) Open(connection);
    if (work_ == Work::kIdle) {
      WaitIdle();
      return;
    }
    RunUntil(Clock::now() + kWarmUp);
    count_ = bytes_ = errors_ = 0;
    latencies_.clear();
    std::puts("begin");
    std::fflush(stdout);
    const Clock::time_point start = Clock::now();
    RunUntil(start + time);
    const std::chrono::duration<double> took = Clock::now() - start;
    std::puts("end");
    std::fflush(stdout);
    Report(took.count());
  }

 private:
  void RunUntil(Clock::time_point end) {
    std::array<epoll_event, 256> events;
    while (Clock::now() < end) {
      const int count = ::epoll_wait(epoll_, events.data(), events.size(), 100);
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        OnEvent(connections_[event.data.u64], event.events);
      }
    }
  }

  void WaitIdle() {
    // A connection takes milliseconds; the last ones wait for all the others.
    const Clock::time_point give_up = Clock::now() + std::chrono::seconds(60);
    while (count_ < connections_.size()) {
      RunUntil(Clock::now() + std::chrono::milliseconds(50));
      if (Clock::now() > give_up) Fail("the connections do not come up");
    }
    std::printf("ready %zu\n", connections_.size());
    std::fflush(stdout);
    char byte = 0;
    while (::read(STDIN_FILENO, &byte, 1) > 0) {
    }
  }

  void Open(Connection& connection) {
    connection = {.fd = CheckedSocket(), .opened = Clock::now()};
    NoDelay(connection.fd);
    next_port_ = (next_port_ + 1) % ports_;
    address_.sin_port = htons(static_cast<std::uint16_t>(port_ + next_port_));
    if (::connect(connection.fd, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)) != 0 &&
        errno != EINPROGRESS) {
      Fail("connect");
    }
    Watch(epoll_, connection.fd, static_cast<std::uint64_t>(&connection - connections_.data()),
          EPOLLIN | EPOLLOUT | EPOLLET);
  }

  void Ask(Connection& connection) {
    const FetchHeader header{.answer_bytes = answer_bytes_};
    const bool begins = work_ == Work::kFetch && connection.asked == Clock::time_point{};
    const void* const bytes = begins ? static_cast<const void*>(&header) : message_.data();
    const std::size_t size = begins ? sizeof(header) : message_.size();
    connection.answered = connection.matched = 0;
    connection.asked = Clock::now();
    if (::send(connection.fd, bytes, size, MSG_NOSIGNAL) < 0) OnError(connection);
  }

  void OnError(Connection& connection) {
    ++errors_;
    if (errors_ > 1000) Fail("too many errors");
    ::close(connection.fd);
    Open(connection);
  }

  void OnEvent(Connection& connection, std::uint32_t events) {
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
      OnError(connection);
      return;
    }
    if (connection.asked == Clock::time_point{} && (events & EPOLLOUT) != 0) Ask(connection);
    if ((events & EPOLLIN) == 0) return;
    if (work_ == Work::kBulk) {
      Swallow(connection);
    } else {
      ReadAnswer(connection);
    }
  }

  void Swallow(Connection& connection) {
    // MSG_TRUNC discards the bytes in the kernel. Only a few times: others get their turn, and new
    // bytes cause an event anyway.
    while (true) {
      const ssize_t got = ::recv(connection.fd, nullptr, 4 * kChunk, MSG_TRUNC);
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) {
        OnError(connection);
        return;
      }
      bytes_ += static_cast<std::uint64_t>(got);
    }
  }

  // Returns the number of bytes behind the head, which may have come in part.
  std::size_t SkipHead(Connection& connection, std::string_view bytes) const {
    if (connection.matched == 0 && connection.answered == 0 && !bytes.starts_with(kOk)) {
      errno = EPROTO;
      Fail("an answer other than 200");
    }
    std::size_t at = 0;
    while (at < bytes.size() && connection.matched < kHeadEnd.size()) {
      const char c = bytes[at++];
      connection.matched = c == kHeadEnd[connection.matched] ? connection.matched + 1
                           : c == kHeadEnd.front()           ? 1
                                                             : 0;
    }
    return bytes.size() - at;
  }

  // Up to the end of the answer: behind what has arrived there may be no other event.
  void ReadAnswer(Connection& connection) {
    while (ReadSome(connection)) {
    }
  }

  // Returns whether there may be more of the answer.
  bool ReadSome(Connection& connection) {
    const bool in_head = work_ == Work::kHttp && connection.matched < kHeadEnd.size();
    // The kernel discards the bytes of a large answer.
    const ssize_t got = HasSize(work_) && !in_head
                            ? ::recv(connection.fd, nullptr, 4 * kChunk, MSG_TRUNC)
                            : ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) {
      OnError(connection);
      return false;
    }
    auto size = static_cast<std::size_t>(got);
    if (in_head) size = SkipHead(connection, {buffer_.data(), size});
    connection.answered += size;
    bytes_ += size;
    if (connection.answered < answer_bytes_) return true;
    ++count_;
    if (work_ == Work::kIdle) return false;
    if (work_ == Work::kShort) {
      // With all that a connection takes, of which a lost SYN is a second.
      latencies_.push_back(Clock::now() - connection.opened);
      ::close(connection.fd);
      Open(connection);
    } else {
      if (connections_.size() == 1 || work_ == Work::kHttp) {
        latencies_.push_back(Clock::now() - connection.asked);
      }
      Ask(connection);
    }
    return false;
  }

  void Report(double seconds) {
    double p50 = 0;
    double p99 = 0;
    double p999 = 0;
    std::size_t stalls = 0;
    if (!latencies_.empty()) {
      std::ranges::sort(latencies_);
      const auto at = [&](std::size_t per_mille) {
        const auto nanos = latencies_[latencies_.size() * per_mille / 1000].count();
        return static_cast<double>(nanos) / 1000;
      };
      p50 = at(500);
      p99 = at(990);
      p999 = at(999);
      stalls =
          static_cast<std::size_t>(latencies_.end() - std::ranges::lower_bound(latencies_, kStall));
    }
    std::printf(
        "{\"seconds\": %.3f, \"count\": %llu, \"bytes\": %llu, \"errors\": %llu, \"p50_us\": %.1f, "
        "\"p99_us\": %.1f, \"p999_us\": %.1f, \"stalls\": %zu}\n",
        seconds, static_cast<unsigned long long>(count_), static_cast<unsigned long long>(bytes_),
        static_cast<unsigned long long>(errors_), p50, p99, p999, stalls);
  }

  const Work work_;
  const std::uint32_t answer_bytes_;
  sockaddr_in address_{};
  const int port_;
  const int ports_;
  int next_port_ = 0;
  const int epoll_;
  std::vector<Connection> connections_;
  std::vector<char> buffer_;
  std::string message_;
  std::uint64_t count_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t errors_ = 0;
  std::vector<std::chrono::nanoseconds> latencies_;
};

[[noreturn]] void Usage() {
  std::fputs(
      "usage: sluice-load serve PORT COUNT\n"
      "       sluice-load bulk|short|ping|idle ADDRESS PORT COUNT CONNECTIONS SECONDS\n"
      "       sluice-load fetch|http ADDRESS PORT COUNT CONNECTIONS SECONDS BYTES\n",
      stderr);
  std::exit(2);
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  RaiseDescriptorLimit();
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "serve" && argc == 4) {
    Server(static_cast<std::uint16_t>(std::atoi(argv[2])), std::atoi(argv[3])).Run();
  }
  if (argc != (what == "fetch" || what == "http" ? 8 : 7)) Usage();
  Work work{};
  if (what == "bulk") {
    work = Work::kBulk;
  } else if (what == "short") {
    work = Work::kShort;
  } else if (what == "ping") {
    work = Work::kPing;
  } else if (what == "idle") {
    work = Work::kIdle;
  } else if (what == "fetch") {
    work = Work::kFetch;
  } else if (what == "http") {
    work = Work::kHttp;
  } else {
    Usage();
  }
  Client client(work, argv[2], static_cast<std::uint16_t>(std::atoi(argv[3])), std::atoi(argv[4]),
                std::atoi(argv[5]), argc == 8 ? static_cast<std::uint32_t>(std::atoi(argv[7])) : 0);
  client.Run(std::chrono::milliseconds(static_cast<int>(std::atof(argv[6]) * 1000)));
}
