// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "proxy/relay/stage.h"
#include "proxy/relay/transport.h"
#include "test/unit/proxy/frame_transport.h"

// What tests of the relay's layers share: stages, transports and peers.
namespace sluice::proxy {

using Random = std::minstd_rand;

inline std::string RandomBytes(Random& random, std::size_t size) {
  std::string out(size, '\0');
  for (char& byte : out) byte = static_cast<char>(random());
  return out;
}

// Inserts a line before the stream, reverses each line, and lets bytes pass after it: the line's
// first digit in hundreds; after a line with '!' all the rest. Holds a line until it is complete.
// The stream must not begin with '-'.
class LineStage : public Stage {
 public:
  static constexpr std::string_view kGreeting = "a greeting\n";

  Answer Put(std::span<const char> bytes, std::string& out) override {
    if (!std::exchange(began_, true)) {
      if (bytes[0] == '-') {
        out += "half an answer";
        return {.error = EBADMSG};
      }
      out += kGreeting;
    }
    const auto end = std::ranges::find(bytes, '\n');
    line_.append(bytes.begin(), end);
    const auto size = static_cast<std::size_t>(end - bytes.begin());
    if (end == bytes.end()) return {.taken = size};
    out.append(line_.rbegin(), line_.rend()) += '\n';
    const char first = std::exchange(line_, {}).append(1, '0')[0];
    return {.taken = size + 1, .passes = Passes(first)};
  }
  int End(std::uint64_t, std::string& out) override {
    out.append(line_.rbegin(), line_.rend());
    return 0;
  }

  static std::uint64_t Passes(char first) {
    if (first == '!') return kTheRest;
    return first >= '0' && first <= '9' ? static_cast<std::uint64_t>(first - '0') * 100 : 0;
  }
  // The expected result for a whole stream.
  static std::string Of(std::string_view in) {
    std::string out;
    if (!in.empty()) out = kGreeting;
    while (!in.empty()) {
      const std::size_t size = std::min(in.find('\n'), in.size());
      const std::string_view line = in.substr(0, size);
      out.append(line.rbegin(), line.rend());
      in.remove_prefix(size);
      if (in.empty()) break;
      out += '\n';
      in.remove_prefix(1);
      const std::string_view rest = in.substr(0, line.empty() ? 0 : Passes(line[0]));
      out += rest;
      in.remove_prefix(rest.size());
    }
    return out;
  }
  static std::string Sample(Random& random) {
    std::string out;
    for (std::size_t lines = random() % 20; lines > 0; --lines) {
      const std::size_t hundreds = random() % 10;
      out += static_cast<char>('0' + hundreds);
      out.append(random() % 300, 'x');
      out += "yz\n";
      if (lines > 1) out += RandomBytes(random, hundreds * 100);
    }
    if (random() % 2 == 0) out += "!\n" + RandomBytes(random, random() % 20'000);
    return out;
  }

 private:
  bool began_ = false;
  std::string line_;
};

// The peer of one of the relay's sockets: it sends and receives a little at a time.
class RelayPeer {
 public:
  // `framed`: speaks through a FrameTransport.
  void Begin(int fd, bool framed, FrameTransport::Habits habits) {
    fd_ = fd;
    if (framed) transport_ = std::make_unique<FrameTransport>(fd, habits);
  }

  // False if it could do nothing.
  bool Play() {
    const std::size_t before = got.size() + to_send.size();
    const auto ends = std::pair(got_end, sent_end);
    Receive();
    Send();
    return before != got.size() + to_send.size() || ends != std::pair(got_end, sent_end);
  }

  std::string to_send;
  bool listens_first = false;  // says nothing before it has received something
  std::string got;
  bool got_end = false;
  bool sent_end = false;
  int error = 0;

 private:
  void Receive() {
    if (got_end || error != 0) return;
    char buffer[1000];
    if (transport_) {
      const Transport::Result result = transport_->Read(buffer);
      got.append(buffer, result.bytes);
      got_end = result.status == Transport::Status::kEnded;
      if (result.status == Transport::Status::kFailed) error = result.error;
      return;
    }
    const ssize_t size = ::recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (size > 0) got.append(buffer, static_cast<std::size_t>(size));
    got_end = size == 0;
    if (size < 0 && errno != EAGAIN) error = errno;
  }
  void Send() {
    if (sent_end || error != 0 || (listens_first && got.empty())) return;
    if (transport_) {
      if (to_send.empty()) {
        sent_end = transport_->Shutdown().status == Transport::Status::kDone;
      } else if (const auto result = transport_->Write(to_send); result.bytes > 0) {
        to_send.erase(0, result.bytes);
      }
    } else if (to_send.empty()) {
      sent_end = ::shutdown(fd_, SHUT_WR) == 0;
    } else {
      const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
      const ssize_t size = ::send(fd_, to_send.data(), to_send.size(), flags);
      if (size > 0) to_send.erase(0, static_cast<std::size_t>(size));
    }
  }

  int fd_ = -1;
  std::unique_ptr<FrameTransport> transport_;
};

// Returns what the test says.
class Scripted : public Transport {
 public:
  Result Read(std::span<char> into) override {
    std::fill_n(into.begin(), read.bytes, 'r');
    return std::exchange(read, {.status = Status::kWaitsForInput});
  }
  Result Write(std::span<const char>) override {
    if (write.took_input) read.bytes = read_after_input;
    if (read.bytes > 0) read.status = Status::kDone;
    return write;
  }
  Result Shutdown() override { return {}; }

  std::size_t read_after_input = 0;  // what can be read after a Write has taken input
  Result read{.status = Status::kWaitsForInput};
  Result write{.status = Status::kWaitsForInput};
};

// Which ends speak through a FrameTransport: the client's, and the server's.
inline constexpr std::pair<bool, bool> kFramed[] = {
    {false, false}, {true, false}, {false, true}, {true, true}};

}  // namespace sluice::proxy
