// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "capture/capture_rules.h"
#include "capture/transaction.h"
#include "netns/network_state.h"
#include "netns/route_socket.h"

// What a capture needs besides netfilter rules, as steps of the same transaction. Like rules they
// have an owner: whatever has our address or our priority is ours.
namespace sluice::netns {

// The priority of Sluice's policy rules: before the main table (32766), after the local one (0),
// and constant, so that a rule never exists twice.
inline constexpr std::uint32_t kPolicyRulePriority = 13370;

// Adds or removes ::6/128 on lo. IPv4 needs nothing: lo has all of 127.0.0.0/8.
class PassthroughAddressStep : public capture::Step {
 public:
  PassthroughAddressStep(NetworkState& network, bool wanted) : network_(network), wanted_(wanted) {}

  std::string Name() const override { return "address ::6/128 on lo"; }
  void Forget() override { network_.Forget(); }
  bool Differs() override { return Have() != Want(); }
  std::vector<std::string> Have() override;
  std::vector<std::string> Want() override;
  void Apply() override { Set(wanted_); }
  void Undo() override { Set(!wanted_); }
  std::string Summary() const override { return std::string(wanted_ ? "" : kNothing); }

 private:
  void Set(bool there);

  NetworkState& network_;
  bool wanted_;
};

// Makes one family's policy rule, and the route in its table, as wanted, and removes others of
// Sluice. The rule is added first and removed last: while there is a route of Sluice, a rule tells
// its table.
class PolicyRoutingStep : public capture::Step {
 public:
  PolicyRoutingStep(NetworkState& network, Family family,
                    std::optional<capture::PolicyRouting> wanted)
      : network_(network), family_(family), wanted_(wanted) {}

  std::string Name() const override;
  void Forget() override { network_.Forget(); }
  bool Differs() override;
  std::vector<std::string> Have() override { return Lines(Read()); }
  std::vector<std::string> Want() override { return Lines(Wanted()); }
  void Apply() override;
  void Undo() override;
  std::string Summary() const override;

 private:
  struct State {
    std::vector<netns::PolicyRule> rules;
    std::vector<netns::Route> routes;
    friend bool operator==(const State&, const State&) = default;
  };

  static std::vector<std::string> Lines(const State& state);
  State Read() const;
  State Wanted() const;
  void Change(const State& from, const State& to);
  void AddRoute(const netns::Route& route);
  netns::Route LocalDefault(std::uint32_t table) const;

  NetworkState& network_;
  Family family_;
  std::optional<capture::PolicyRouting> wanted_;
  State before_;
};

}  // namespace sluice::netns
