// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"

// How one proxy takes the place of another: it is given the listening sockets themselves, over a
// Unix socket (SCM_RIGHTS). What waits in their queues, and handshakes that have begun, stay where
// they are; nothing has to be closed that somebody may be connecting to. (Sockets that only share a
// port lose connections when one of them closes: the kernel spreads SYNs over them until it is
// gone, and one that is not answered is sent again after a second.)
namespace sluice::proxy {

// Names the socket, which is abstract, so that it belongs to the network namespace as the ports do,
// and needs no file.
std::string HandOverName(std::uint16_t outbound_port, std::uint16_t inbound_port);

// A running proxy, seen from the one that is to take its place.
class Predecessor {
 public:
  // Asks the proxy that answers to `name` for its listening sockets. None when nobody answers, or
  // not in time, or somebody who is not our user. Nothing changes for it yet.
  static std::optional<Predecessor> Ask(const std::string& name);

  // The process, as this one sees it; 0 when it cannot (another PID namespace).
  pid_t pid() const { return pid_; }
  // Listening sockets, on whatever port each is.
  std::vector<UniqueFd>& listeners() { return listeners_; }
  // Where the next proxy will ask, for HandOver.
  UniqueFd& asked_on() { return asked_on_; }

  // To be called when the sockets are served here: it does not answer to the name any more, and
  // closing its own copies of the sockets does no harm to anybody. `stop`: it shall drain.
  void Taken(bool stop);

 private:
  Predecessor() = default;

  UniqueFd connection_;
  UniqueFd asked_on_;
  std::vector<UniqueFd> listeners_;
  pid_t pid_ = 0;
};

// The side of the proxy that runs. Not thread-safe.
class HandOver {
 public:
  // Answers to `name`; with what a predecessor has given, or else on a socket of its own. Without
  // one, when somebody else has the name, nobody can ask: see possible().
  HandOver(const std::string& name, UniqueFd asked_on);

  bool possible() const { return static_cast<bool>(asked_on_); }

  // What to wait for (POLLIN); an fd of -1 is to be passed over, as poll(2) does.
  std::array<pollfd, 2> Awaited() const;

  enum class News : std::uint8_t {
    kNone,
    kTaken,  // somebody else serves the sockets as well now
    kStop,   // and wants this proxy to drain
  };
  // Answers who asks, and hears what they say. Does not wait for anybody. To be called when one of
  // what is awaited is ready. `listeners` stay the caller's.
  News Serve(const std::vector<int>& listeners);
  // Whether somebody else has the sockets, and may be serving them already.
  bool given() const { return taken_ || static_cast<bool>(asker_); }

 private:
  void Answer(const std::vector<int>& listeners);

  // Of this process, which may not ask for it any more when it runs (cmd/sluice-proxy/harden.cc).
  const uid_t uid_;
  UniqueFd asked_on_;
  UniqueFd asker_;
  bool taken_ = false;
};

}  // namespace sluice::proxy
