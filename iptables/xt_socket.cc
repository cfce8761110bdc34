// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/xt_socket.h"

// First: the kernel's headers then leave out what these have.
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

#include "iptables/layout/xt_layout.h"

namespace sluice::iptables {
namespace {

// Both families have the same options and structs, under different names.
static_assert(IPT_SO_GET_INFO == IP6T_SO_GET_INFO && IPT_SO_GET_ENTRIES == IP6T_SO_GET_ENTRIES &&
              IPT_SO_SET_REPLACE == IP6T_SO_SET_REPLACE &&
              IPT_SO_SET_ADD_COUNTERS == IP6T_SO_SET_ADD_COUNTERS);
static_assert(sizeof(ipt_getinfo) == sizeof(ip6t_getinfo) &&
              sizeof(ipt_get_entries) == sizeof(ip6t_get_entries) &&
              sizeof(ipt_replace) == sizeof(ip6t_replace) &&
              offsetof(ipt_replace, counters) == offsetof(ip6t_replace, counters));

// How often a reader starts over while others write.
constexpr int kReadAttempts = 10;

template <std::size_t N>
void SetName(char (&name)[N], std::string_view table) {
  table.copy(name, N - 1);
}

}  // namespace

XtSocket::XtSocket(AsIptables, Family family) : XtSocket(family, SOCK_RAW, IPPROTO_RAW) {}

XtSocket::XtSocket(Family family) : XtSocket(family, SOCK_DGRAM, 0) {}

XtSocket::XtSocket(Family family, int type, int protocol)
    : level_(family == Family::kIpv4 ? IPPROTO_IP : IPPROTO_IPV6),
      socket_(
          ::socket(family == Family::kIpv4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, protocol)),
      error_(socket_ ? 0 : errno) {}

int XtSocket::Read(std::string_view table, XtBlob& out) const {
  if (!socket_) return error_;
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    ipt_getinfo info{};
    SetName(info.name, table);
    socklen_t size = sizeof(info);
    if (getsockopt(socket_.get(), level_, IPT_SO_GET_INFO, &info, &size) != 0) return errno;
    std::vector<std::byte> buffer(sizeof(ipt_get_entries) + info.size);
    // No value of the struct: it ends in an array without a size.
    std::memcpy(buffer.data() + offsetof(ipt_get_entries, name), info.name, sizeof(info.name));
    std::memcpy(buffer.data() + offsetof(ipt_get_entries, size), &info.size, sizeof(info.size));
    size = static_cast<socklen_t>(buffer.size());
    if (getsockopt(socket_.get(), level_, IPT_SO_GET_ENTRIES, buffer.data(), &size) == 0) {
      buffer.erase(buffer.begin(), buffer.begin() + sizeof(ipt_get_entries));
      out = {.valid_hooks = info.valid_hooks,
             .entry_count = info.num_entries,
             .entries = std::move(buffer)};
      std::ranges::copy(info.hook_entry, out.hook_entry.begin());
      std::ranges::copy(info.underflow, out.underflow.begin());
      return 0;
    }
    // Its size has changed meanwhile.
    if (errno != EAGAIN) return errno;
  }
  return EAGAIN;
}

bool XtSocket::Lacks(const Extension& extension) const {
  if (!socket_) return false;
  xt_get_revision query{};
  SetName(query.name, extension.name);
  query.revision = static_cast<__u8>(extension.revision);
  socklen_t size = sizeof(query);
  const bool v4 = level_ == IPPROTO_IP;
  const int option =
      v4 ? (extension.is_target ? IPT_SO_GET_REVISION_TARGET : IPT_SO_GET_REVISION_MATCH)
         : (extension.is_target ? IP6T_SO_GET_REVISION_TARGET : IP6T_SO_GET_REVISION_MATCH);
  return getsockopt(socket_.get(), level_, option, &query, &size) != 0;
}

int XtSocket::Replace(std::string_view table, const XtImage& image,
                      unsigned int entry_count) const {
  if (!socket_) return error_;
  std::vector<xt_counters> counted(entry_count);
  // No `{}`: the structs end in arrays without a size.
  ipt_replace header;
  std::memset(&header, 0, sizeof(header));
  SetName(header.name, table);
  header.valid_hooks = image.blob.valid_hooks;
  header.num_entries = image.blob.entry_count;
  header.size = static_cast<unsigned int>(image.blob.entries.size());
  std::ranges::copy(image.blob.hook_entry, header.hook_entry);
  std::ranges::copy(image.blob.underflow, header.underflow);
  header.num_counters = entry_count;
  header.counters = counted.data();
  std::vector<std::byte> request(sizeof(header) + image.blob.entries.size());
  std::memcpy(request.data(), &header, sizeof(header));
  std::ranges::copy(image.blob.entries, request.begin() + sizeof(header));
  if (setsockopt(socket_.get(), level_, IPT_SO_SET_REPLACE, request.data(),
                 static_cast<socklen_t>(request.size())) != 0) {
    return errno;
  }

  // The kernel starts all counters at 0, and has given those of the old table.
  const std::size_t size = image.counters.size() * sizeof(xt_counters);
  std::vector<std::byte> addition(sizeof(xt_counters_info) + size);
  xt_counters_info info;
  std::memset(&info, 0, sizeof(info));
  SetName(info.name, table);
  info.num_counters = static_cast<unsigned int>(image.counters.size());
  std::memcpy(addition.data(), &info, sizeof(info));
  std::byte* at = addition.data() + sizeof(info);
  for (const XtCounters& each : image.counters) {
    const xt_counters value =
        each.kept ? counted.at(*each.kept) : xt_counters{each.start.packets, each.start.bytes};
    std::memcpy(at, &value, sizeof(value));
    at += sizeof(value);
  }
  // Fails if somebody has replaced the table in between. The counters are lost then; the rules were
  // there, and are that program's now.
  setsockopt(socket_.get(), level_, IPT_SO_SET_ADD_COUNTERS, addition.data(),
             static_cast<socklen_t>(addition.size()));
  return 0;
}

}  // namespace sluice::iptables
