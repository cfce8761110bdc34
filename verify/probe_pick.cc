// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/probe_pick.h"

#include <algorithm>
#include <array>

#include "base/interface_pattern.h"

namespace sluice::verify {
namespace {

constexpr std::string_view kPodSuffix = "slprobe0";
constexpr std::string_view kPeerSuffix = "slprobe1";
constexpr std::size_t kMaxName = 15;  // IFNAMSIZ without the NUL

// The first address after `range`; nothing at the end of the family's addresses.
std::optional<IpAddress> Behind(const Cidr& range) {
  std::array<std::uint8_t, 16> bytes{};
  const auto first = range.address().bytes();
  std::ranges::copy(first, bytes.begin());
  for (int bit = range.prefix_length(); bit < AddressBits(range.family()); ++bit) {
    bytes[static_cast<std::size_t>(bit) / 8] |= static_cast<std::uint8_t>(0x80U >> (bit % 8));
  }
  for (std::size_t i = first.size(); i-- > 0;) {
    if (++bytes[i] != 0) return IpAddress::FromBytes(std::span(bytes).first(first.size()));
  }
  return std::nullopt;
}

// Searches from `start`; ranges may overlap, and each step skips one.
std::optional<IpAddress> FirstFree(const Cidr& range, std::optional<IpAddress> start,
                                   const std::vector<Cidr>& blocked) {
  while (start && range.Contains(*start)) {
    const auto found =
        std::ranges::find_if(blocked, [&](const Cidr& other) { return other.Contains(*start); });
    if (found == blocked.end()) return start;
    start = Behind(*found);
  }
  return std::nullopt;
}

bool Any(const std::vector<std::string>& patterns, const std::string& name) {
  return std::ranges::any_of(
      patterns, [&](const std::string& pattern) { return MatchesInterface(pattern, name); });
}

InterfaceNames Named(const std::string& prefix) {
  return {prefix + std::string(kPodSuffix), prefix + std::string(kPeerSuffix)};
}

}  // namespace

InterfaceNames DefaultInterfaceNames() { return Named(""); }

std::optional<InterfaceNames> ChooseInterfaceNames(const capture::CaptureConfig& config) {
  // The others are for configurations that exclude "sl+".
  std::vector<std::string> prefixes = {"", "x", "zz"};
  for (const std::string& pattern : config.include_interfaces) {
    if (pattern.ends_with('+')) prefixes.push_back(pattern.substr(0, pattern.size() - 1));
  }
  for (const std::string& prefix : prefixes) {
    const InterfaceNames names = Named(prefix);
    const bool included =
        config.include_interfaces.empty() || Any(config.include_interfaces, names.pod);
    if (included && names.pod.size() <= kMaxName && !Any(config.exclude_interfaces, names.pod) &&
        !Any(config.virt_interfaces, names.pod)) {
      return names;
    }
  }
  return std::nullopt;
}

bool IsProbeInterface(const std::string& name) { return name.ends_with(kPodSuffix); }

std::optional<IpAddress> PickAddress(const std::vector<Cidr>& among,
                                     const std::vector<Cidr>& blocked) {
  for (const Cidr& range : among) {
    // The first address of a range is often the network's own, so it is the last choice.
    const auto second = Behind(Cidr(range.address(), AddressBits(range.family())));
    if (const auto found = FirstFree(range, second, blocked)) return found;
    if (const auto found = FirstFree(range, range.address(), blocked)) return found;
  }
  return std::nullopt;
}

std::optional<std::uint16_t> PickPort(const std::vector<PortRange>& among,
                                      const std::vector<PortRange>& blocked,
                                      std::uint16_t preferred) {
  const auto in = [](const std::vector<PortRange>& ranges, int port) {
    return std::ranges::any_of(ranges, [port](const PortRange& range) {
      return range.Contains(static_cast<std::uint16_t>(port));
    });
  };
  if (in(among, preferred) && !in(blocked, preferred)) return preferred;
  for (const PortRange& range : among) {
    // Without a preference, a port that needs no privilege (ip_unprivileged_port_start).
    const int start = range.Contains(1024) ? 1024 : range.first;
    for (int port = start; port <= range.last; ++port) {
      if (!in(blocked, port)) return static_cast<std::uint16_t>(port);
    }
    for (int port = range.first; port < start; ++port) {
      if (!in(blocked, port)) return static_cast<std::uint16_t>(port);
    }
  }
  return std::nullopt;
}

std::optional<std::uint32_t> PickId(std::uint32_t preferred,
                                    const std::optional<std::vector<std::uint32_t>>& among,
                                    const std::vector<std::uint32_t>& blocked) {
  const auto free = [&](std::uint32_t id) {
    return std::ranges::find(blocked, id) == blocked.end();
  };
  if (among) {
    if (std::ranges::find(*among, preferred) != among->end() && free(preferred)) return preferred;
    const auto found = std::ranges::find_if(*among, free);
    return found == among->end() ? std::nullopt : std::optional(*found);
  }
  if (free(preferred)) return preferred;
  std::uint32_t id = 1000;
  while (!free(id)) ++id;
  return id;
}

Cidr BenchmarkRange(Family family) {
  return family == Family::kIpv4 ? Cidr::Parse("198.18.0.0/15") : Cidr::Parse("2001:2::/48");
}

std::vector<Cidr> NeverOutside(Family family) {
  if (family == Family::kIpv6) {
    return {Cidr::Parse("::/8"), Cidr::Parse("fe80::/10"), Cidr::Parse("ff00::/8")};
  }
  return {Cidr::Parse("0.0.0.0/8"), Cidr::Parse("127.0.0.0/8"), Cidr::Parse("169.254.0.0/16"),
          Cidr::Parse("224.0.0.0/3")};
}

}  // namespace sluice::verify
