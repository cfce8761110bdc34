// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "doctor/readers.h"
#include "netns/sysctl.h"

namespace sluice::doctor {
namespace {

struct Need {
  std::string_view backend;
  std::string_view module;
  NeededFor needed_for;
  // One of its functions: shows whether it is built in (/proc/kallsyms).
  std::string_view symbol;
};
constexpr auto kNeeds = std::to_array<Need>({
    {"iptables", "ip_tables", NeededFor::kEvery, "ipt_do_table"},
    {"iptables", "iptable_nat", NeededFor::kEvery, "iptable_nat_table_init"},
    {"iptables", "nf_conntrack", NeededFor::kEvery, "nf_conntrack_in"},
    {"iptables", "xt_owner", NeededFor::kEvery, "owner_mt"},
    {"iptables", "xt_REDIRECT", NeededFor::kEvery, "redirect_tg4"},
    {"iptables", "ip6_tables", NeededFor::kIpv6, "ip6t_do_table"},
    {"iptables", "ip6table_nat", NeededFor::kIpv6, "ip6table_nat_table_init"},
    {"iptables", "iptable_mangle", NeededFor::kTproxy, "iptable_mangle_hook"},
    {"iptables", "xt_TPROXY", NeededFor::kTproxy, "tproxy_tg4_v1"},
    {"iptables", "xt_conntrack", NeededFor::kTproxy, "conntrack_mt_v3"},
    {"iptables", "xt_mark", NeededFor::kTproxy, "mark_tg"},
    {"iptables", "xt_connmark", NeededFor::kTproxy, "connmark_mt"},
    {"iptables", "ip6table_mangle", NeededFor::kTproxyIpv6, "ip6table_mangle_hook"},
    {"iptables", "iptable_raw", NeededFor::kDns, "iptable_raw_table_init"},
    {"iptables", "xt_CT", NeededFor::kDns, "xt_ct_target_v1"},
    {"iptables", "xt_socket", NeededFor::kListening, "socket_mt4_v1_v2_v3"},
    {"nftables", "nf_tables", NeededFor::kEvery, "nft_do_chain"},
    {"nftables", "nf_conntrack", NeededFor::kEvery, "nf_conntrack_in"},
    {"nftables", "nft_chain_nat", NeededFor::kEvery, "nft_nat_do_chain"},
    {"nftables", "nft_redir", NeededFor::kEvery, "nft_redir_init"},
    {"nftables", "nft_tproxy", NeededFor::kTproxy, "nft_tproxy_init"},
    {"nftables", "nft_ct", NeededFor::kTproxy, "nft_ct_get_init"},
    {"nftables", "nft_socket", NeededFor::kListening, "nft_socket_init"},
});

// "kernel/net/netfilter/xt_owner.ko.xz: ..." -> "xt_owner"
std::string NameOfFile(std::string_view line) {
  const std::string_view path = line.substr(0, line.find(':'));
  const std::string_view file = path.substr(path.rfind('/') + 1);
  std::string name(file.substr(0, file.find(".ko")));
  std::ranges::replace(name, '-', '_');
  return name;
}

template <typename Visit>
bool EachLine(const std::string& path, Visit visit) {
  std::ifstream file(path);
  if (!file.is_open()) return false;
  for (std::string line; std::getline(file, line);) visit(line);
  return true;
}

}  // namespace

KernelModules::KernelModules() {
  has_modules_ = EachLine("/proc/modules", [this](const std::string& line) {
    there_.insert(line.substr(0, line.find(' ')));
  });
  utsname kernel{};
  if (uname(&kernel) == 0) {
    const std::string directory = std::string("/lib/modules/") + kernel.release;
    EachLine(directory + "/modules.builtin",
             [this](const std::string& line) { there_.insert(NameOfFile(line)); });
    knows_files_ = EachLine(directory + "/modules.dep", [this](const std::string& line) {
      loadable_.insert(NameOfFile(line));
    });
  }
  ReadSymbols();
}

void KernelModules::ReadSymbols() {
  std::map<std::string_view, std::vector<std::string_view>> by_symbol;
  for (const Need& need : kNeeds) by_symbol[need.symbol].push_back(need.module);
  // "ffffffff81ff99c0 t nft_redir_init", followed by the module if it belongs to one.
  std::size_t lines = 0;
  EachLine("/proc/kallsyms", [&](std::string_view line) {
    ++lines;
    const std::size_t begin = line.find(' ') + 3;
    if (begin >= line.size()) return;
    const std::string_view name = line.substr(begin, line.find('\t', begin) - begin);
    const auto found = by_symbol.find(name);
    if (found == by_symbol.end()) return;
    for (const std::string_view module : found->second) there_.insert(std::string(module));
  });
  // Containers hide it by making it empty.
  knows_symbols_ = lines > 0;
}

Presence KernelModules::Find(std::string_view module) const {
  if (there_.contains(module)) return Presence::kThere;
  if (has_modules_ && loadable_.contains(module)) return Presence::kLoadable;
  if (has_modules_) return knows_files_ ? Presence::kAbsent : Presence::kUnknown;
  return knows_symbols_ ? Presence::kAbsent : Presence::kUnknown;
}

std::vector<Module> KernelModules::Of(std::string_view backend) const {
  std::vector<Module> out;
  for (const Need& need : kNeeds) {
    if (need.backend != backend) continue;
    out.push_back({.name = std::string(need.module),
                   .presence = Find(need.module),
                   .needed_for = need.needed_for});
  }
  return out;
}

KernelModules::NfTables KernelModules::MayAskNfTables() const {
  // A message to a missing subsystem makes the kernel load "nfnetlink-subsys-10".
  if (there_.contains("nf_tables")) return NfTables::kAsk;
  if (!has_modules_) return NfTables::kAsk;  // nothing can be loaded
  // If no symbols are visible it may be built in, unless the files say otherwise.
  return knows_symbols_ || knows_files_ ? NfTables::kNotLoaded : NfTables::kUnknown;
}

Known<Conntrack> ReadConntrack() {
  const auto read = [](const char* name) {
    return std::stoull(netns::ReadSysctl(std::string("netfilter/") + name));
  };
  try {
    return Conntrack{.count = read("nf_conntrack_count"), .max = read("nf_conntrack_max")};
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kKernelFeature) {
      return Known<Conntrack>::Not("nf_conntrack is not loaded yet");
    }
    return Known<Conntrack>::Not(error.what());
  } catch (const std::exception&) {
    return Known<Conntrack>::Not("nf_conntrack_count and nf_conntrack_max are no numbers");
  }
}

}  // namespace sluice::doctor
