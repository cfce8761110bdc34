// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/stream/socket_bio.h"

#include <sys/socket.h>

#include <cerrno>
#include <new>

namespace sluice::tls {
namespace {

SocketState& StateOf(BIO* bio) { return *static_cast<SocketState*>(BIO_get_data(bio)); }

int Read(BIO* bio, char* into, std::size_t size, std::size_t* done) {
  SocketState& state = StateOf(bio);
  BIO_clear_retry_flags(bio);
  *done = 0;
  // Once a call has found the socket drained it does not read again, even if more has arrived:
  // there is an event for that.
  if (!state.drained) {
    ssize_t got = 0;
    do {
      got = ::recv(state.fd, into, size, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
      state.took_input = true;
      state.filled = static_cast<std::size_t>(got) == size;
      *done = static_cast<std::size_t>(got);
      return 1;
    }
    if (got == 0) {
      state.ended = true;
      return 0;
    }
    if (errno != EAGAIN) {
      state.read_error = errno;
      return 0;
    }
    state.drained = true;
  }
  BIO_set_retry_read(bio);
  return 0;
}

int Write(BIO* bio, const char* from, std::size_t size, std::size_t* done) {
  SocketState& state = StateOf(bio);
  BIO_clear_retry_flags(bio);
  *done = 0;
  ssize_t sent = 0;
  do {
    sent = ::send(state.fd, from, size, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) {
    *done = static_cast<std::size_t>(sent);
    return 1;
  }
  if (errno == EAGAIN) {
    state.full = true;
    BIO_set_retry_write(bio);
  } else {
    state.write_error = errno;
  }
  return 0;
}

long Control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return StateOf(bio).ended ? 1 : 0;
    default:
      return 0;
  }
}

struct Method {
  BIO_METHOD* handle = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice socket");

  Method() {
    if (handle == nullptr) throw std::bad_alloc();
    BIO_meth_set_read_ex(handle, Read);
    BIO_meth_set_write_ex(handle, Write);
    BIO_meth_set_ctrl(handle, Control);
  }
  Method(const Method&) = delete;
  Method& operator=(const Method&) = delete;
  ~Method() { BIO_meth_free(handle); }
};

}  // namespace

UniqueBio MakeSocketBio(SocketState& state) {
  static const Method method;
  UniqueBio bio(BIO_new(method.handle));
  if (!bio) throw std::bad_alloc();
  BIO_set_data(bio.get(), &state);
  BIO_set_init(bio.get(), 1);
  return bio;
}

}  // namespace sluice::tls
