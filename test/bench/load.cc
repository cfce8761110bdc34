// sluice-load: a server and a client that load what is between them. scripts/bench proxy runs it.
//
//   sluice-load serve PORT COUNT              listens on COUNT ports from PORT on
//   sluice-load bulk|short|ping|idle ADDRESS PORT COUNT CONNECTIONS SECONDS
//
// The server answers each byte with the same byte, but streams for ever to a client whose first
// byte is 'S'. The client, after a warm-up, prints "begin", works for SECONDS, prints "end" and one
// line of JSON; `idle` opens the connections, uses each once, prints "ready" and waits for the end
// of standard input. One thread and one event loop each, and no copying where it can be helped:
// what is to be measured is the proxy.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

// The size of a small request and of its answer.
constexpr std::size_t kMessage = 64;
constexpr std::size_t kChunk = 256 * 1024;
// Caches, windows and the proxy's choice between copying and splicing settle in this time.
constexpr std::chrono::milliseconds kWarmUp{400};

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::exit(EXIT_FAILURE);
}

int CheckedSocket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) Fail("socket");
  return fd;
}

void NoDelay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void Watch(int epoll, int fd, std::uint64_t data, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) Fail("epoll_ctl");
}

void RaiseDescriptorLimit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// --- server -----------------------------------------------------------------------------------

// Indexed by descriptor: whether its client asked for the stream.
enum class Mode : std::uint8_t { kNew, kEcho, kStream };

class Server {
 public:
  Server(std::uint16_t port, int count) : epoll_(::epoll_create1(EPOLL_CLOEXEC)), block_(kChunk) {
    for (int i = 0; i < count; ++i) {
      const int fd = CheckedSocket();
      const int on = 1;
      ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
      NoDelay(fd);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(static_cast<std::uint16_t>(port + i));
      if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Fail("bind");
      if (::listen(fd, 4096) != 0) Fail("listen");
      listeners_.push_back(fd);
      Watch(epoll_, fd, static_cast<std::uint64_t>(fd), EPOLLIN);
    }
  }

  [[noreturn]] void Run() {
    std::puts("ready");
    std::fflush(stdout);
    std::array<epoll_event, 256> events;
    while (true) {
      const int count = ::epoll_wait(epoll_, events.data(), events.size(), -1);
      for (int i = 0; i < count; ++i) {
        const auto fd = static_cast<int>(events[static_cast<std::size_t>(i)].data.u64);
        if (std::ranges::find(listeners_, fd) != listeners_.end()) {
          Accept(fd);
        } else {
          Serve(fd);
        }
      }
    }
  }

 private:
  void Accept(int listener) {
    while (true) {
      const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const auto index = static_cast<std::size_t>(fd);
      if (modes_.size() <= index) modes_.resize(index + 1);
      modes_[index] = Mode::kNew;
      Watch(epoll_, fd, index, EPOLLIN | EPOLLOUT | EPOLLET);
    }
  }

  void Serve(int fd) {
    Mode& mode = modes_[static_cast<std::size_t>(fd)];
    while (mode != Mode::kStream) {
      const ssize_t got = ::recv(fd, block_.data(), block_.size(), 0);
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) {
        ::close(fd);
        return;
      }
      if (mode == Mode::kNew) mode = block_[0] == 'S' ? Mode::kStream : Mode::kEcho;
      if (mode == Mode::kEcho) {
        // Small enough to fit always.
        [[maybe_unused]] const ssize_t sent =
            ::send(fd, block_.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
      }
    }
    while (true) {
      const ssize_t sent = ::send(fd, block_.data(), block_.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) return;
      if (sent < 0) {
        ::close(fd);
        return;
      }
    }
  }

  int epoll_;
  std::vector<int> listeners_;
  std::vector<Mode> modes_;
  std::vector<char> block_;
};

// --- client -----------------------------------------------------------------------------------

enum class Work : std::uint8_t { kBulk, kShort, kPing, kIdle };

struct Connection {
  int fd = -1;
  std::size_t answered = 0;  // bytes of the answer that is awaited
  Clock::time_point asked{};
};

class Client {
 public:
  Client(Work work, const char* address, std::uint16_t port, int ports, int connections)
      : work_(work),
        port_(port),
        ports_(ports),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        connections_(static_cast<std::size_t>(connections)),
        buffer_(kChunk) {
    address_.sin_family = AF_INET;
    if (::inet_pton(AF_INET, address, &address_.sin_addr) != 1) Fail(address);
    message_.assign(kMessage, 'e');
    if (work_ == Work::kBulk) message_.assign(1, 'S');
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
    // A connection takes milliseconds; the last ones wait behind all others.
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
    connection = {.fd = CheckedSocket()};
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
    connection.answered = 0;
    connection.asked = Clock::now();
    if (::send(connection.fd, message_.data(), message_.size(), MSG_NOSIGNAL) < 0) {
      OnError(connection);
    }
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
    // MSG_TRUNC throws the bytes away in the kernel. A few times only: the others have their turn,
    // and the event of new bytes comes anyway.
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

  void ReadAnswer(Connection& connection) {
    const ssize_t got = ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      OnError(connection);
      return;
    }
    connection.answered += static_cast<std::size_t>(got);
    if (connection.answered < kMessage) return;
    ++count_;
    if (work_ == Work::kIdle) return;
    if (connections_.size() == 1) latencies_.push_back(Clock::now() - connection.asked);
    if (work_ == Work::kShort) {
      ::close(connection.fd);
      Open(connection);
    } else {
      Ask(connection);
    }
  }

  void Report(double seconds) {
    double p50 = 0;
    double p99 = 0;
    if (!latencies_.empty()) {
      std::ranges::sort(latencies_);
      const auto at = [&](std::size_t percent) {
        const auto nanos = latencies_[latencies_.size() * percent / 100].count();
        return static_cast<double>(nanos) / 1000;
      };
      p50 = at(50);
      p99 = at(99);
    }
    std::printf(
        "{\"seconds\": %.3f, \"count\": %llu, \"bytes\": %llu, \"errors\": %llu, \"p50_us\": %.1f, "
        "\"p99_us\": %.1f}\n",
        seconds, static_cast<unsigned long long>(count_), static_cast<unsigned long long>(bytes_),
        static_cast<unsigned long long>(errors_), p50, p99);
  }

  const Work work_;
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
      "       sluice-load bulk|short|ping|idle ADDRESS PORT COUNT CONNECTIONS SECONDS\n",
      stderr);
  std::exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  RaiseDescriptorLimit();
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "serve" && argc == 4) {
    Server(static_cast<std::uint16_t>(std::atoi(argv[2])), std::atoi(argv[3])).Run();
  }
  if (argc != 7) Usage();
  Work work{};
  if (what == "bulk") {
    work = Work::kBulk;
  } else if (what == "short") {
    work = Work::kShort;
  } else if (what == "ping") {
    work = Work::kPing;
  } else if (what == "idle") {
    work = Work::kIdle;
  } else {
    Usage();
  }
  Client client(work, argv[2], static_cast<std::uint16_t>(std::atoi(argv[3])), std::atoi(argv[4]),
                std::atoi(argv[5]));
  client.Run(std::chrono::milliseconds(static_cast<int>(std::atof(argv[6]) * 1000)));
}
