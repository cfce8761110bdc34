// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>

#include "base/socket_address.h"
#include "base/unique_fd.h"

namespace sluice::init {

// Asks the kernel which TCP socket would take a packet, by the lookup that -m socket makes, too
// (inet_diag). Needs no privilege. In the namespace in which it was created; one thread at a time.
class SocketLookup {
 public:
  SocketLookup();

  // Whether a listener takes the first packet of a connection to `to` that comes in by the
  // interface of that index; 0: by any. Nothing if the kernel cannot be asked.
  std::optional<bool> Listens(const SocketAddress& to, int in_link);

 private:
  // The errno of the answer; 0: there is one.
  int Ask(const SocketAddress& to, int in_link);
  // The kernel answers ENOENT for "no socket", and for "no such module": tells which.
  bool Answers();

  UniqueFd socket_;
  std::uint32_t sequence_ = 0;
  std::optional<bool> answers_;
};

}  // namespace sluice::init
