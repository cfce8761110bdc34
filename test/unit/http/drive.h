// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "proxy/http/exchange.h"
#include "proxy/relay/layers.h"

namespace sluice::proxy {

// One direction of a connection without sockets: what a Flow does with a stage.
class DrivenFlow {
 public:
  explicit DrivenFlow(std::unique_ptr<Stage> stage) { slot_.stage = std::move(stage); }

  // More of the stream, which waits while the stage does. Returns whether anything has happened.
  void Add(std::string_view bytes) { waiting_ += bytes; }
  void End() { source_ended_ = true; }
  bool Run() {
    bool any = false;
    while (!over_ && error == 0 && Step()) any = true;
    return any;
  }
  // As the session does it when the server is cut.
  std::uint64_t StopPassing() { return slot_.stage ? std::exchange(slot_.passes, 0) : 0; }

  std::string out;
  int error = 0;
  bool ended() const { return over_; }
  bool is_plain() const { return slot_.stage == nullptr; }
  std::uint64_t passes() const { return slot_.passes; }
  std::size_t waiting() const { return waiting_.size(); }

 private:
  bool Step() {
    if (slot_.HasWork()) {
      const Stage::Resumed resumed = slot_.stage->Resume(out);
      error = resumed.error;
      slot_.passes = resumed.passes;
      over_ = resumed.ends;
      if (resumed.ends || resumed.passes == Stage::kTheRest) slot_.stage.reset();
      return true;
    }
    if (slot_.Waits()) return false;
    if (waiting_.empty()) {
      if (!source_ended_) return false;
      if (slot_.stage) error = slot_.stage->End(slot_.passes, out);
      slot_.stage.reset();
      over_ = true;
      return true;
    }
    if (!slot_.stage) {
      out += std::exchange(waiting_, {});
      return true;
    }
    if (slot_.passes == 0) {
      const Stage::Answer answer = slot_.stage->Put(waiting_, out);
      error = answer.error;
      if (error != 0) return true;
      if ((answer.taken == 0 && answer.passes == 0) || answer.taken > waiting_.size()) {
        error = -1;  // against the contract
        return true;
      }
      waiting_.erase(0, answer.taken);
      slot_.passes = answer.passes;
      if (slot_.passes == Stage::kTheRest) slot_.stage.reset();
      return true;
    }
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(slot_.passes, waiting_.size()));
    out.append(waiting_, 0, size);
    waiting_.erase(0, size);
    slot_.passes -= size;
    return true;
  }

  StageSlot slot_;
  std::string waiting_;
  bool source_ended_ = false;
  bool over_ = false;
};

// Both directions of a connection.
class DrivenExchange {
 public:
  explicit DrivenExchange(RewriteRules rules = {}, std::uint64_t seed = 1)
      : ids_(seed), exchange(std::move(rules), ids_) {}

  void FromClient(std::string_view bytes) {
    request.Add(bytes);
    Settle();
  }
  void FromServer(std::string_view bytes) {
    response.Add(bytes);
    Settle();
  }
  void EndClient() {
    request.End();
    Settle();
  }
  void EndServer() {
    response.End();
    Settle();
  }
  void Settle() {
    bool any = true;
    while (any) {
      any = request.Run();
      any = response.Run() || any;
      if (exchange.has_done_with_server() && !cut_) {
        cut_ = any = true;
        if (!request.is_plain()) exchange.CutRequest(request.StopPassing());
      }
    }
  }
  const std::string& to_server() const { return request.out; }
  const std::string& to_client() const { return response.out; }
  bool cut() const { return cut_; }

 private:
  IdSource ids_;
  bool cut_ = false;

 public:
  HttpExchange exchange;
  DrivenFlow request{exchange.RequestStage()};
  DrivenFlow response{exchange.ResponseStage()};
};

}  // namespace sluice::proxy
