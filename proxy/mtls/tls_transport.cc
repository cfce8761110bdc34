// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/mtls/tls_transport.h"

#include <utility>

namespace sluice::proxy {
namespace {

// tls/ does not know proxy/, so that each has an enumeration of its own.
constexpr bool Same(tls::Stream::Status theirs, Transport::Status ours) {
  return static_cast<int>(theirs) == static_cast<int>(ours);
}
static_assert(Same(tls::Stream::Status::kDone, Transport::Status::kDone));
static_assert(Same(tls::Stream::Status::kAgain, Transport::Status::kAgain));
static_assert(Same(tls::Stream::Status::kWaitsForInput, Transport::Status::kWaitsForInput));
static_assert(Same(tls::Stream::Status::kWaitsForRoom, Transport::Status::kWaitsForRoom));
static_assert(Same(tls::Stream::Status::kEnded, Transport::Status::kEnded));
static_assert(Same(tls::Stream::Status::kFailed, Transport::Status::kFailed));

Transport::Result From(const tls::Stream::Result& result) {
  return {.status = static_cast<Transport::Status>(result.status),
          .took_input = result.took_input,
          .error = result.error,
          .bytes = result.bytes};
}

}  // namespace

TlsTransport::TlsTransport(std::shared_ptr<const tls::Context> context, int fd,
                           tls::Stream::Options options)
    : stream_(std::move(context), fd, std::move(options)) {}

Transport::Result TlsTransport::Read(std::span<char> into) { return From(stream_.Read(into)); }
Transport::Result TlsTransport::Write(std::span<const char> from) {
  return From(stream_.Write(from));
}
Transport::Result TlsTransport::Shutdown() { return From(stream_.Shutdown()); }

}  // namespace sluice::proxy
