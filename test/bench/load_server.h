// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::bench {

// The server of sluice-load, for any number of clients on one thread.
class Server {
 public:
  // Listens on `count` ports from `port`.
  Server(std::uint16_t port, int count);
  [[noreturn]] void Run();

 private:
  // What a client's first byte asks for.
  enum class Mode : std::uint8_t { kNew, kEcho, kStream, kFetch, kHttp };
  struct Served {
    Mode mode = Mode::kNew;
    std::uint32_t answer_bytes = 0;  // kFetch
    std::uint64_t owed = 0;          // bytes of requested answers
    std::string head;                // kHttp: of a request, so far
  };

  static Mode ModeOf(char first);
  void Accept(int listener);
  void Serve(int fd);
  void OnBytes(int fd, Served& client, std::size_t size);
  void OnHttp(int fd, Served& client, std::string_view bytes);

  int epoll_;
  std::vector<int> listeners_;
  std::vector<Served> served_;  // indexed by descriptor
  std::vector<char> block_;
};

}  // namespace sluice::bench
