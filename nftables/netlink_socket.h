// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "nftables/message.h"

namespace sluice::nftables {

class Batch;

// A netlink socket to nf_tables in the network namespace of the calling thread: requests, dumps and
// batches, and the kernel's answers. Functions throw sluice::Error: kPrivilege
// names the capability, kKernelFeature the module. Not thread-safe.
class NetlinkSocket {
 public:
  // Writes the attributes of a request; may be empty.
  using Fill = std::function<void(MessageWriter&)>;

  NetlinkSocket();

  // Of the namespace's rule set: every change by anybody increments it.
  std::uint32_t Generation();

  // Sends a request of the type `message`, such as NFT_MSG_GETSET, and calls `visit` with the
  // answer, which may be an error.
  void Ask(int message, std::uint8_t family, const Fill& fill,
           const std::function<void(const Message&)>& visit);

  // Sends a dump request, and calls `visit` with each message of the answer. False when a change
  // interrupted the dump.
  bool Dump(int message, std::uint8_t family, const Fill& fill,
            const std::function<void(const NetfilterMessage&)>& visit);

  // Makes the socket's buffer large enough for a batch, as far as permitted. False if it is not.
  bool MakeRoom(std::size_t bytes);

  // Commits a finished batch. False, with nothing written, if the rule set has changed since the
  // generation that the batch was made for.
  bool Commit(const Batch& batch);

 private:
  void SendRequest(int message, std::uint16_t flags, std::uint8_t family, const Fill& fill);
  void Send(const std::string& bytes);
  void SendBatch(const std::string& bytes);
  // Returns how many bytes of buffer_ were filled; 0 if there is nothing to receive.
  std::size_t Receive();

  UniqueFd socket_;
  std::uint32_t sequence_ = 0;
  // Not initialised: every page that is touched costs a page fault, and most answers are short.
  std::unique_ptr<std::uint8_t[]> buffer_;
};

}  // namespace sluice::nftables
