// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/facts.h"
#include "netns/network_state.h"

// Functions that fill the facts. They change nothing: they load no module, and ask no question for
// which the kernel would have to create something.
namespace sluice::doctor {

// The features of the running kernel, by module name.
class KernelModules {
 public:
  KernelModules();

  Presence Find(std::string_view module) const;
  // Whether nf_tables can be queried without loading its module. A module that is not loaded holds
  // no rules.
  enum class NfTables : std::uint8_t { kAsk, kNotLoaded, kUnknown };
  NfTables MayAskNfTables() const;
  // All modules that a backend, "iptables" or "nftables", needs.
  std::vector<Module> Of(std::string_view backend) const;

 private:
  void ReadSymbols();

  bool has_modules_ = false;  // the kernel can load modules
  bool knows_files_ = false;  // /lib/modules has this kernel
  bool knows_symbols_ = false;
  std::set<std::string, std::less<>> there_;
  std::set<std::string, std::less<>> loadable_;
};

Known<Conntrack> ReadConntrack();

// For the network namespace of the calling thread, which /proc must show as well.
void ReadSocketsAndProcesses(Facts& facts);

// Addresses, and settings of interfaces.
void ReadNetwork(netns::NetworkState& network, Facts& facts);

// The resolv.conf of the namespace that --network-namespace names.
void ReadResolvers(std::string_view network_namespace, Facts& facts);

}  // namespace sluice::doctor
