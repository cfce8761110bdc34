// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "capture/explain/machine.h"
#include "capture/explain/walk.h"

namespace sluice::capture::explain {

// All paths of one connection: where a condition is not known, both branches are followed.
// Functions that take a path and return bool tell whether it goes on.
class Run {
 public:
  // Both must outlive this.
  Run(const Walker& walker, const Connection& connection)
      : walker_(walker), connection_(connection) {}

  std::vector<Outcome> All();

 private:
  struct Frame {
    const ModelChain* chain;
    std::size_t next = 0;
  };
  struct State {
    Traveller packet;
    HookPoint hook = HookPoint::kOutput;
    std::size_t base = 0;  // how many base chains of the hook are done
    // The order of base chains, as indices, where it differs from the known one.
    std::vector<std::size_t> order = {};
    std::size_t ordered = 0;  // the order is chosen up to here
    std::vector<Frame> stack = {};
    bool in_chain = false;
    std::vector<PathEntry> path = {};
    std::vector<std::string> notes = {};
    bool nat_done = false;  // the destination is final, changed or not
    bool source_done = false;
    bool changed_here = false;  // something that routing depends on, in this hook
    bool local = false;
    bool looped = false;  // it came through lo, and its route is known
    // It passed an unreadable base chain, or one of several destinations was chosen.
    bool unsure = false;
    std::vector<std::string> doubts = {};
    std::optional<PathEntry> redirected = {};
    std::optional<PathEntry> tproxied = {};
    // The last rule that ended a decision of Sluice, or a foreign chain, before any redirection.
    std::optional<PathEntry> let_go = {};
    std::uint16_t tproxy_port = 0;
    std::size_t steps = 0;
  };

  Family family() const { return connection_.to.ip.family(); }

  // --- from hook to hook, and from base chain to base chain (run.cc) ---
  bool Begin(State& state);
  const std::vector<Walker::Base>& Bases(const State& state) const;
  // The current base chain.
  const Walker::Base& Now(const State& state) const;
  // Follows each order of base chains that share a place.
  void ChooseOrder(State& state);
  // One rule, or one entry between chains.
  bool Advance(State& state);
  bool EndOfBase(State& state, const Walker::Base& base);
  // Whether a nat chain is not asked, because the decision was made before.
  bool Skips(const State& state) const;
  bool Enter(State& state, HookPoint hook);
  bool LeaveHook(State& state);
  bool LeavePrerouting(State& state);
  // It has passed all chains.
  bool Arrive(State& state);
  // Arrives at a port of this namespace, or at another address.
  bool Land(State& state, const PathEntry& entry, std::uint16_t port);
  bool End(State& state, Landing landing, const std::optional<PathEntry>& decided = std::nullopt,
           std::uint16_t port = 0);

  // --- what rules do (run_rules.cc) ---
  // An nf_tables rule. If a part of it is not known, both branches are followed.
  bool Carry(State& state, const ModelRule& rule, PathEntry entry);
  // A verdict map.
  bool Branch(State& state, const Lookup& lookup, const Machine& machine, PathEntry entry,
              bool shown);
  void Store(State& state, const StoreMark& store, const Bits& bits) const;
  // In OUTPUT some chains make the kernel route the packet again.
  void MarkChanged(State& state) const;
  static Action NatOf(const NatTo& nat, const Machine& machine);
  // This base chain accepted the packet; continue with the next one.
  static void LeaveBase(State& state);
  // Records a decision not to capture, if it is made where capturing is decided.
  void LetGo(State& state, const PathEntry& entry) const;
  bool Do(State& state, const Action& action, std::size_t leads_to, const PathEntry& entry);
  void Rewrite(State& state, const PathEntry& entry, const std::optional<IpAddress>& address,
               std::optional<std::uint16_t> port);

  const Walker& walker_;
  const Connection& connection_;
  std::vector<State> work_;
  std::vector<Outcome> outcomes_;
};

// Which listener a Sluice rule leads to, by the chain that it is in.
std::optional<Landing> ListenerOf(std::string_view chain);

}  // namespace sluice::capture::explain
