// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

// One libnl netlink socket that keeps the kernel's own error texts. Private to netns: no public
// header includes this one.

#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "base/error.h"
#include "netns/route_codec.h"

namespace sluice::netns {

// The kernel's original error: libnl maps several errno values to one code of its own, and drops
// the kernel's text (NLMSGERR_ATTR_MSG).
struct KernelAnswer {
  int error = 0;  // errno, 0 when the kernel did not refuse
  std::string sentence;
};

// Translates all libnl errors. `code` is the result of a libnl function; it is used when the kernel
// did not refuse the request.
Error NetlinkError(int code, const KernelAnswer& answer, std::string doing, std::string target);

// A NETLINK_ROUTE socket in the namespace of the calling thread.
class NetlinkSocket {
 public:
  // A libnl function that builds a request: returns its error code, and the message through the
  // pointer.
  using Build = std::function<int(nl_msg**)>;
  using Messages = std::vector<NlPtr<nl_msg>>;

  NetlinkSocket();
  NetlinkSocket(const NetlinkSocket&) = delete;
  NetlinkSocket& operator=(const NetlinkSocket&) = delete;

  // Sends a request and waits for the acknowledgement. Returns 0, or the errno of the kernel's
  // refusal, which Refusal() turns into an Error; throws on any other failure.
  int Ask(const std::string& doing, const std::string& target, const Build& build);

  // The same for a request that is answered with messages, which go to `answer`.
  int Get(const std::string& doing, const std::string& target, const Build& build,
          Messages& answer);

  // All messages of one consistent listing: repeated if something changed meanwhile. Throws on
  // every failure, except that a refusal with `empty_errno` means an empty list.
  Messages List(nl_msg* request, const std::string& doing, int empty_errno = 0);

  int fd() const { return nl_socket_get_fd(socket_.get()); }

  Error Refusal(std::string doing, std::string target) const {
    return NetlinkError(0, answer_, std::move(doing), std::move(target));
  }

 private:
  struct Free {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
  };

  // Receives the complete answer to the last request; returns libnl's code.
  int Receive(Messages& answer);

  std::unique_ptr<nl_sock, Free> socket_;
  KernelAnswer answer_;
};

// A request to list everything that matches `header`, an rtnetlink(7) struct.
NlPtr<nl_msg> NewListing(int type, const void* header, std::size_t length);

// The object in `message`, as libnl-route parses it. The caller owns it, so that no exception
// passes through libnl's frames.
NlPtr<nl_object> ParseObject(nl_msg* message);

template <typename Object>
NlPtr<Object> Parse(nl_msg* message) {
  return NlPtr<Object>(reinterpret_cast<Object*>(ParseObject(message).release()));
}

}  // namespace sluice::netns
