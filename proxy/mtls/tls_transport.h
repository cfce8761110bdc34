// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <span>

#include "proxy/relay/transport.h"
#include "tls/stream/stream.h"

namespace sluice::proxy {

// An end of a session that speaks mutual TLS: tls::Stream as the relay takes it. The handshake is
// done by whichever call comes first.
class TlsTransport final : public Transport {
 public:
  // Of a session's socket, which outlives it. Throws std::bad_alloc.
  TlsTransport(std::shared_ptr<const tls::Context> context, int fd, tls::Stream::Options options);

  Result Read(std::span<char> into) override;
  Result Write(std::span<const char> from) override;
  Result Shutdown() override;
  std::size_t Unsent() const override { return stream_.Unsent(); }

  // Who the peer is, and what went wrong.
  const tls::Stream& stream() const { return stream_; }
  tls::Stream& stream() { return stream_; }

 private:
  tls::Stream stream_;
};

}  // namespace sluice::proxy
