// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/xt_reader.h"

// First: the kernel's headers then leave out what these have, as xtables.cc needs it.
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "iptables/xt_layout.h"
#include "iptables/xt_model.h"
#include "iptables/xtables_errors.h"

// Without libiptc, which needs CAP_NET_RAW for its socket: reading needs CAP_NET_ADMIN only.
namespace sluice::iptables {
namespace {

using namespace capture::explain;

// How often a reader starts over while others write.
constexpr int kReadAttempts = 10;

struct ReadV4 {
  using Entry = ipt_entry;
  using Info = ipt_getinfo;
  using Entries = ipt_get_entries;
  static constexpr Family kFamily = Family::kIpv4;
  static constexpr int kDomain = AF_INET;
  static constexpr int kLevel = IPPROTO_IP;
  static constexpr int kGetInfo = IPT_SO_GET_INFO;
  static constexpr int kGetEntries = IPT_SO_GET_ENTRIES;
};
struct ReadV6 {
  using Entry = ip6t_entry;
  using Info = ip6t_getinfo;
  using Entries = ip6t_get_entries;
  static constexpr Family kFamily = Family::kIpv6;
  static constexpr int kDomain = AF_INET6;
  static constexpr int kLevel = IPPROTO_IPV6;
  static constexpr int kGetInfo = IP6T_SO_GET_INFO;
  static constexpr int kGetEntries = IP6T_SO_GET_ENTRIES;
};

// A table as the kernel has it: entries one after the other, chains by their offsets.
template <typename Api>
struct Blob {
  typename Api::Info info{};
  std::vector<std::byte> entries = {};
};

// 0, or an errno.
template <typename Api>
int Fetch(std::string_view name, Blob<Api>& out) {
  // Any socket of the family takes the options; this one needs no capability.
  const UniqueFd socket(::socket(Api::kDomain, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno;
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    out.info = {};
    name.copy(out.info.name, sizeof(out.info.name) - 1);
    socklen_t size = sizeof(out.info);
    if (getsockopt(socket.get(), Api::kLevel, Api::kGetInfo, &out.info, &size) != 0) return errno;
    std::vector<std::byte> buffer(sizeof(typename Api::Entries) + out.info.size);
    // No value of the struct: it ends in an array without a size.
    std::memcpy(buffer.data() + offsetof(typename Api::Entries, name), out.info.name,
                sizeof(out.info.name));
    std::memcpy(buffer.data() + offsetof(typename Api::Entries, size), &out.info.size,
                sizeof(out.info.size));
    size = static_cast<socklen_t>(buffer.size());
    if (getsockopt(socket.get(), Api::kLevel, Api::kGetEntries, buffer.data(), &size) == 0) {
      buffer.erase(buffer.begin(), buffer.begin() + sizeof(typename Api::Entries));
      out.entries = std::move(buffer);
      return 0;
    }
    // Its size has changed meanwhile.
    if (errno != EAGAIN) return errno;
  }
  return EAGAIN;
}

// An entry in the blob; nothing if it does not fit, which the kernel does not do.
struct Found {
  std::size_t offset = 0;
  std::span<const std::byte> bytes = {};
  std::string_view target = {};
  std::string chain = {};  // of a chain's first entry, which is no rule
  int verdict = 0;         // of a standard target
};

template <typename Api>
std::optional<Found> At(const Blob<Api>& blob, std::size_t offset) {
  const auto rest = std::span(blob.entries).subspan(offset);
  typename Api::Entry entry;
  if (!xt::Read(rest, entry)) return {};
  if (entry.next_offset < sizeof(entry) || entry.next_offset > rest.size() ||
      entry.target_offset < sizeof(entry) || entry.target_offset > entry.next_offset) {
    return {};
  }
  Found out{.offset = offset, .bytes = rest.first(entry.next_offset)};
  const auto bytes = out.bytes.subspan(entry.target_offset);
  xt_entry_target target;
  if (!xt::Read(bytes, target)) return {};
  // Valid as long as the blob.
  const auto* const name =
      reinterpret_cast<const char*>(bytes.data()) + offsetof(xt_entry_target, u.user.name);
  out.target = {name, strnlen(name, sizeof(target.u.user.name))};
  if (out.target == XT_ERROR_TARGET) {
    xt_error_target error;
    if (!xt::Read(bytes, error)) return {};
    out.chain = xt::BoundedText(error.errorname);
  } else if (out.target == XT_STANDARD_TARGET) {
    xt_standard_target standard;
    if (!xt::Read(bytes, standard)) return {};
    out.verdict = standard.verdict;
  }
  return out;
}

constexpr int kDropVerdict = -NF_DROP - 1;

template <typename Api>
bool ReadOne(std::string_view name, bool surely_there, Model& model) {
  Blob<Api> blob;
  if (const int error = Fetch(name, blob); error != 0) {
    const bool lacks = error != EPERM && error != EACCES;
    if (lacks && !surely_there) return true;
    for (const capture::Table table : capture::kTables) {
      if (Name(table) == name) throw InitError(error, Api::kFamily, table);
    }
    throw SystemError(error, "read the " + std::string(name) + " table",
                      std::string(sluice::Name(Api::kFamily)));
  }
  constexpr std::array<const char*, NF_INET_NUMHOOKS> kHooks = {"PREROUTING", "INPUT", "FORWARD",
                                                                "OUTPUT", "POSTROUTING"};
  struct RawChain {
    std::string name;
    bool builtin = false;
    std::vector<Found> entries = {};
  };
  std::vector<RawChain> chains;
  std::map<std::size_t, std::string> names;  // of chains that rules jump to, by the first rule
  for (std::size_t offset = 0; offset < blob.entries.size();) {
    auto entry = At(blob, offset);
    if (!entry) return false;
    const std::size_t next = offset + entry->bytes.size();
    for (unsigned hook = 0; hook < NF_INET_NUMHOOKS; ++hook) {
      if ((blob.info.valid_hooks >> hook & 1U) != 0 && blob.info.hook_entry[hook] == offset) {
        chains.push_back({.name = kHooks[hook], .builtin = true});
      }
    }
    if (entry->target == XT_ERROR_TARGET) {
      // The last one is the end of the table.
      if (next < blob.entries.size()) {
        names[next] = entry->chain;
        chains.push_back({.name = std::move(entry->chain)});
      }
    } else if (!chains.empty()) {
      chains.back().entries.push_back(*std::move(entry));
    }
    offset = next;
  }
  ModelTable table{.backend = "iptables", .family = Api::kFamily, .name = std::string(name)};
  for (RawChain& raw : chains) {
    if (raw.entries.empty()) return false;
    ModelChain chain{.name = raw.name};
    chain.ours = capture::IsOwnedChain(chain.name);
    // The last one is the policy, or the way back.
    const Found last = raw.entries.back();
    raw.entries.pop_back();
    if (raw.builtin) {
      chain.base = BuiltinHook(name, chain.name);
      if (chain.base) chain.base->policy_drops = last.verdict == kDropVerdict;
    }
    for (const Found& entry : raw.entries) {
      std::string target(entry.target);
      if (entry.target == XT_STANDARD_TARGET) {
        const int verdict = entry.verdict;
        if (verdict == kDropVerdict) {
          target = "DROP";
        } else if (verdict == -NF_ACCEPT - 1) {
          target = "ACCEPT";
        } else if (verdict == -NF_QUEUE - 1) {
          target = "QUEUE";
        } else if (verdict == XT_RETURN) {
          target = "RETURN";
        } else if (verdict < 0) {
          return false;
        } else if (const auto to = names.find(static_cast<std::size_t>(verdict));
                   to != names.end()) {
          target = to->second;
        } else if (static_cast<std::size_t>(verdict) != entry.offset + entry.bytes.size()) {
          return false;
        }
      }
      chain.rules.push_back(DecodeModelRule(entry.bytes, target, Api::kFamily));
    }
    table.chains.push_back(std::move(chain));
  }
  // Built-in chains first, Sluice's chains by name: like a planned Sluice table.
  std::ranges::stable_sort(table.chains, [](const ModelChain& a, const ModelChain& b) {
    if (a.base.has_value() != b.base.has_value()) return a.base.has_value();
    if (a.base) return a.base->hook < b.base->hook;
    return a.name < b.name;
  });
  model.tables.push_back(std::move(table));
  return true;
}

}  // namespace

void ReadModel(TableNames& names, Model& model) {
  for (const Family family : capture::kFamilies) {
    for (const std::string_view table : {"raw", "mangle", "nat", "filter", "security"}) {
      if (!names.Has(family, table)) continue;
      const bool known = names.Knows(family);
      if (family == Family::kIpv4 ? ReadOne<ReadV4>(table, known, model)
                                  : ReadOne<ReadV6>(table, known, model)) {
        continue;
      }
      throw Error(ErrorKind::kFailed, {.doing = "read the " + std::string(table) + " table",
                                       .target = std::string(sluice::Name(family)),
                                       .why = "the kernel has it in a form that is not known",
                                       .help = {}});
    }
  }
}

}  // namespace sluice::iptables
