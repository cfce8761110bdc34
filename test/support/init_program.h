// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <iosfwd>
#include <map>
#include <string>
#include <vector>

#include "netns/namespace.h"
#include "netns/route_values.h"
#include "test/support/capture_cases.h"
#include "test/support/command.h"

// Runs sluice-init, and shows what it has changed.
namespace sluice::testing_support {

// The tests of sluice-init run once for each backend: "iptables", or $SLUICE_TEST_BACKEND. If that
// is set, InitCommand passes it on, unless the arguments name a backend.
std::string BackendUnderTest();
inline bool TestsNftables() { return BackendUnderTest() == "nftables"; }

// The command for sluice-init with these arguments. Change it before RunCommand as needed.
Command InitCommand(std::vector<std::string> args);

// Runs sluice-init as root.
CommandResult RunInit(const netns::Namespace& where, std::vector<std::string> args);

// The command for a case, in a mount namespace where /etc/resolv.conf is that of the case, if it is
// read at all. `more` are further arguments.
Command CaseCommand(const CaptureCase& chosen, std::vector<std::string> more = {});
CommandResult RunCase(const netns::Namespace& where, const CaptureCase& chosen,
                      std::vector<std::string> more = {});

// Everything that sluice-init may change in a namespace. Printable; snapshots of two namespaces can
// be compared.
struct Snapshot {
  // By family and table ("v4 nat"), as iptables-save writes it. Tables without rules and without
  // user-defined chains are left out: the kernel keeps every table that was used once. nf_tables'
  // tables, except those that iptables-legacy has, as nft prints them; Sluice's by the part of its
  // chains' names before the '/' ("nft ip sluice nat").
  std::map<std::string, std::string> tables;
  std::vector<netns::PolicyRule> policy_rules;
  std::vector<netns::Route> routes;  // of every table that a policy rule or Sluice names
  std::vector<netns::AddressEntry> addresses;

  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};
std::ostream& operator<<(std::ostream& out, const Snapshot& snapshot);

enum class WithCounters : bool { kNo, kYes };

Snapshot TakeSnapshot(const netns::Namespace& where, WithCounters counters = WithCounters::kNo);

// Whether the rules are the same and no counter has decreased, as when packets pass between two
// snapshots with counters.
bool OnlyCountedOn(const Snapshot& before, const Snapshot& after);

// Whether any rule's counter is above zero.
bool HasCounted(const Snapshot& snapshot);

// The IPv4 nat table in `snapshot`, for the backend under test.
const std::string& NatOf(const Snapshot& snapshot);

// The installed rules of a family, for the backend under test.
std::string RulesOf(const netns::Namespace& where, Family family);

// What stands in RulesOf where the kernel is led from OUTPUT to the rules of nat.
inline const char* JumpFromOutput() {
  return TestsNftables() ? "counter jump nat/ISTIO_OUTPUT" : "-A OUTPUT -j ISTIO_OUTPUT";
}

// Has nft carry out `commands`. The test fails when it fails.
void Nft(const netns::Namespace& where, const std::string& commands);

// Runs iptables-legacy, or ip6tables-legacy for IPv6, with the words of `arguments`. The test fails
// if it fails.
void Iptables(const netns::Namespace& where, Family family, const std::string& arguments);

// The names in /proc/net/ip_tables_names and ip6_tables_names: the existing tables.
std::string TableNames(const netns::Namespace& where);

}  // namespace sluice::testing_support
