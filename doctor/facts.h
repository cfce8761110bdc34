// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/os/capabilities.h"
#include "base/os/resolv_conf.h"
#include "base/socket_address.h"
#include "capture/foreign.h"
#include "capture/lock.h"
#include "capture/rule.h"
#include "netns/route_values.h"

// The judge's input: plain values, so that tests can write them down.
namespace sluice::doctor {

// A value that was read, or why it could not be.
template <typename T>
struct Known {
  std::optional<T> value = {};
  std::string why_not = {};

  Known() = default;
  Known(T read) : value(std::move(read)) {}
  static Known Not(std::string why) {
    Known out;
    out.why_not = std::move(why);
    return out;
  }

  explicit operator bool() const { return value.has_value(); }
  const T& operator*() const { return *value; }
  const T* operator->() const { return &*value; }
};

// --- the kernel ---
enum class Presence : std::uint8_t {
  kThere,     // loaded, or built in
  kLoadable,  // loaded on demand
  kAbsent,
  kUnknown
};
// The feature that needs a kernel module.
enum class NeededFor : std::uint8_t { kEvery, kIpv6, kTproxy, kTproxyIpv6, kDns, kListening };
struct Module {
  std::string name;
  Presence presence = Presence::kUnknown;
  NeededFor needed_for = NeededFor::kEvery;
};
struct Conntrack {
  std::uint64_t count = 0;
  std::uint64_t max = 0;
};

// --- a backend ---
struct BackendFacts {
  std::string name;  // "iptables"
  // Whether this build can use it at all.
  bool in_build = true;
  std::vector<Module> modules = {};
  // The installed Sluice rules; empty if none. Without any that Sluice cannot have written.
  Known<capture::RuleSet> ours = {};
  // Foreign rules that decide before Sluice's, as far as this backend sees them.
  std::vector<capture::Obstruction> obstructions = {};
  // Who else has rules: "filter (IPv4)", "inet firewalld".
  std::vector<std::string> others = {};
  // Foreign rules that seem to capture traffic as well.
  std::vector<std::string> captures_of_others = {};
};

// --- processes and sockets of the namespace ---
struct Process {
  int pid = 0;
  int parent = 0;
  std::string name = {};
  std::uint32_t uid = 0;  // the uid of its files and sockets
  std::uint32_t gid = 0;
};
struct Listener {
  capture::Protocol protocol = capture::Protocol::kTcp;
  SocketAddress address;
  std::uint32_t uid = 0;  // the uid that created the socket
  // Its owner; nothing if that is not visible.
  std::optional<Process> process = {};
};
struct Processes {
  std::vector<Process> all = {};
  // Processes that may or may not be in this namespace.
  std::vector<Process> hidden = {};
};
// Of the process that owns the listeners.
struct Limits {
  std::uint64_t open_files = 0;  // the soft limit
  std::uint64_t hard_open_files = 0;
};

// --- everything ---
struct Facts {
  Known<Capabilities> capabilities = {};
  std::vector<BackendFacts> backends = {};
  // The backend that a run with these options must use; empty: whichever is possible.
  std::string chosen = {};
  // What this run's options would install; empty if they capture nothing.
  capture::RuleSet planned = {};
  std::vector<capture::LockHolder> lock_holders = {};
  Known<std::vector<netns::AddressEntry>> addresses = {};
  Known<Conntrack> conntrack = {};
  Known<std::vector<Listener>> listeners = {};
  Known<Processes> processes = {};
  // The judge ignores its parents: the doctor's own pid.
  int own_pid = 0;
  // By pid.
  std::map<int, Limits> limits = {};
  Known<std::uint64_t> pipe_pages = {};  // fs.pipe-user-pages-soft; 0: no limit
  // net.ipv4.conf.*, by interface, including "all".
  std::map<std::string, int> rp_filter = {};
  std::map<std::string, int> src_valid_mark = {};
  std::string no_rp_filter = {};  // why they could not be read
  // net.ipv6.conf.lo.disable_ipv6
  Known<bool> ipv6_off_on_lo = {};
  bool has_passthrough_address = false;  // ::6 on lo
  // How many of the policy rules and routes that TPROXY needs are there, by family.
  Known<std::map<Family, std::size_t>> policy_routing = {};
  std::string resolv_conf = {};  // its path
  Known<ResolvConf> resolvers = {};
};

bool HasRules(const capture::RuleSet& rules);

}  // namespace sluice::doctor
