// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <memory>

#include "proxy/relay/stage.h"
#include "proxy/relay/transport.h"

namespace sluice::proxy {

// A direction's stage, if it has one, and how many bytes pass it before it is asked again.
struct StageSlot {
  std::unique_ptr<Stage> stage = nullptr;
  std::uint64_t passes = 0;
};

// What one direction goes through. Owns nothing. Null: a plain end.
struct Hops {
  Transport* from = nullptr;
  Transport* to = nullptr;
  StageSlot& stage;
  // The source was reset: what has come is delivered, but even if it seems to end well, no end is
  // passed on, and what a stage holds is dropped.
  bool broken = false;

  bool plain() const { return from == nullptr && to == nullptr && stage.stage == nullptr; }
};

// What a connection has between its two sockets besides bytes that are moved. A plain connection
// has none of this.
struct Layers {
  std::unique_ptr<Transport> client = nullptr;
  std::unique_ptr<Transport> server = nullptr;
  StageSlot request = {};   // client to server
  StageSlot response = {};  // server to client

  Hops RequestHops() { return {.from = client.get(), .to = server.get(), .stage = request}; }
  Hops ResponseHops() { return {.from = server.get(), .to = client.get(), .stage = response}; }
};

}  // namespace sluice::proxy
