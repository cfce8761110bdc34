// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "tls/openssl.h"

// OpenSSL's access to a socket, for this directory only.
namespace sluice::tls {

// The results of system calls. OpenSSL's own socket BIO tells less, and its writes raise SIGPIPE.
struct SocketState {
  int fd = -1;
  // For one call; see BeginCall.
  bool took_input = false;
  bool filled = false;  // as much was read as there was room for: there may be more
  bool drained = false;
  bool full = false;
  // Permanent.
  bool ended = false;   // the peer's FIN has come
  int read_error = 0;   // errno
  int write_error = 0;  // errno

  void BeginCall() { took_input = filled = drained = full = false; }
};

// A BIO on `state`, which must outlive it. Throws std::bad_alloc.
UniqueBio MakeSocketBio(SocketState& state);

}  // namespace sluice::tls
