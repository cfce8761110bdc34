// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "tls/openssl.h"

// OpenSSL's way to a socket, for this directory alone.
namespace sluice::tls {

// What came of the system calls. OpenSSL's own socket BIO tells less, and writes with SIGPIPE.
struct SocketState {
  int fd = -1;
  // Of one call; see BeginCall.
  bool took_input = false;
  bool drained = false;
  bool full = false;
  // For good.
  bool ended = false;   // the peer's FIN has come
  int read_error = 0;   // errno
  int write_error = 0;  // errno

  void BeginCall() { took_input = drained = full = false; }
};

// A BIO over `state`, which has to outlive it. Throws std::bad_alloc.
UniqueBio MakeSocketBio(SocketState& state);

}  // namespace sluice::tls
