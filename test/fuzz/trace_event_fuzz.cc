// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The decoders of `sluice-init trace`: netlink messages of conntrack, of nf_tables' trace events
// and of sockets, one after the other, as a socket receives them.
#include <vector>

#include "test/fuzz/fuzz.h"
#include "trace/attribution.h"
#include "trace/event.h"
#include "trace/packets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
  using fuzz::Require;
  static const capture::explain::Model kModel;
  static const trace::Attributor kAttributor(
      kModel, [](capture::explain::Landing) -> std::uint16_t { return 15001; });
  // A separate copy, so that reads beyond its end are detected.
  const std::vector<std::uint8_t> bytes(data, data + size);
  trace::Bytes left(bytes);
  trace::Packets packets;
  const auto attribute = [](const trace::Seen& seen) {
    const trace::Attribution attribution = kAttributor.Of(seen, {}, true);
    Require(!attribution.decided, "no rule decides where there are none");
    Require(seen.steps.size() <= trace::Packets::kMostSteps, "a packet has a limit of steps");
  };
  while (const auto message = nftables::TakeMessage(left)) {
    Require(message->error >= 0, "an errno is not negative");
    for (const auto protocol : {capture::Protocol::kTcp, capture::Protocol::kUdp}) {
      static_cast<void>(trace::DecodeSocket(message->payload, protocol));
    }
    const auto inside = nftables::OfNetfilter(*message);
    if (!inside) continue;
    if (const auto event = trace::DecodeNewConnection(inside->attributes)) {
      Require(event->original.protocol == event->reply.protocol, "both ways have one protocol");
      attribute(packets.Add(*event));
    }
    if (const auto step = trace::DecodeTraceEvent(inside->family, inside->attributes)) {
      if (const auto seen = packets.Add(*step)) attribute(*seen);
    }
  }
  return 0;
}
