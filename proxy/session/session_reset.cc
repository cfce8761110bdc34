// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What a session does when one side has reset the connection: the other one is reset as well, but
// first it gets what was on its way.
#include <chrono>
#include <cstdint>

#include "proxy/accept/sockets.h"
#include "proxy/session/session.h"

namespace sluice::proxy {
namespace {

// After one side has reset the connection, the other one is given what was on its way, as long as
// it takes some. When it has taken nothing for this long it is reset. That is longer than a few
// retransmissions on a bad network, and short enough that a receiver that does not read holds
// nothing for long.
constexpr std::chrono::seconds kDeliveryPatience{5};

}  // namespace

void Session::OnBroken(WorkerContext& worker, Side side, int error) {
  if (refused_ && (!http_ || !http_->has_records())) {
    // The client does not speak HTTP, or is gone.
    Abort(worker, failure_);
    return;
  }
  if (cut_) {
    Close(worker);
    return;
  }
  if (side == Side::kServer && http_ && AnswerInsteadOfServer(worker)) return;
  error_ = static_cast<std::uint16_t>(error);
  failure_ = side == Side::kClient ? Failure::kClientReset : Failure::kUpstreamReset;
  if (!connected_) {
    Abort(worker, failure_);
    return;
  }
  state_ = State::kBroken;
  broken_side_ = side;
  active_tick_ = worker.now_ticks;
  undelivered_bytes_ = 0;
  DeliverTheRest(worker);
}

void Session::DeliverTheRest(WorkerContext& worker) {
  const bool client = broken_side_ == Side::kClient;
  Endpoint& from = client ? client_ : server_;
  Endpoint& to = client ? server_ : client_;
  Flow& flow = client ? request_ : response_;
  // What came before a reset can still be read; the error itself may be spent, so that the stream
  // seems to end well.
  from.readable = from.hangup = true;
  if (to.failed) {
    Abort(worker, failure_);
    return;
  }
  const Progress progress = Move(worker, flow, from, to);
  if (progress == Progress::kAgain) {
    Requeue(worker);
    return;
  }
  if (progress == Progress::kFailed && !flow.error_at_source()) {
    Abort(worker, failure_);
    return;
  }
  // A reset takes back what has been written and not been confirmed.
  const Transport* const receiver =
      layers_ ? (client ? layers_->server : layers_->client).get() : nullptr;
  const std::size_t unsent = receiver != nullptr ? receiver->Unsent() : 0;
  const std::uint32_t undelivered = UnconfirmedBytes(to.fd) + static_cast<std::uint32_t>(unsent);
  const bool waits_for_room = progress == Progress::kWaiting && !to.writable;
  if (!waits_for_room && undelivered == 0) {
    Abort(worker, failure_);
    return;
  }
  if (undelivered != undelivered_bytes_) active_tick_ = worker.now_ticks;
  undelivered_bytes_ = undelivered;
  const std::uint64_t silent = worker.now_ticks - active_tick_;
  if (silent >= Ticks(kDeliveryPatience)) {
    Abort(worker, failure_);
  } else {
    // No event tells when the last byte is confirmed. Look again soon, and then less and less
    // often.
    worker.timers.Set(*this, worker.now_ticks + 1 + silent / 2);
  }
}
}  // namespace sluice::proxy
