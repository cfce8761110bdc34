// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <memory>

#include "proxy/relay/stage.h"
#include "proxy/relay/transport.h"

namespace sluice::proxy {

// A direction's stage, if any, and how many bytes pass before it is called again.
struct StageSlot {
  std::unique_ptr<Stage> stage = nullptr;
  std::uint64_t passes = 0;

  // As the stage says it; nothing while bytes pass it.
  bool HasWork() const { return stage && passes == 0 && stage->HasWork(); }
  bool Waits() const { return stage && passes == 0 && stage->Waits(); }
};

// The layers of one direction. Owns nothing. Null: a plain end.
struct Hops {
  Transport* from = nullptr;
  Transport* to = nullptr;
  StageSlot& stage;
  // The source was reset: received bytes are delivered, but no end is passed on, even if it seems
  // to end well, and what a stage holds is dropped.
  bool broken = false;

  bool plain() const { return from == nullptr && to == nullptr && stage.stage == nullptr; }
};

// The layers of a connection between its two sockets. A plain connection has
// none.
struct Layers {
  std::unique_ptr<Transport> client = nullptr;
  std::unique_ptr<Transport> server = nullptr;
  StageSlot request = {};   // client to server
  StageSlot response = {};  // server to client

  Hops RequestHops() { return {.from = client.get(), .to = server.get(), .stage = request}; }
  Hops ResponseHops() { return {.from = server.get(), .to = client.get(), .stage = response}; }
};

}  // namespace sluice::proxy
