// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/host.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <set>

#include "base/error.h"
#include "base/os/resolv_conf.h"

namespace sluice::netns {
namespace {

constexpr const char* kResolvConf = "/etc/resolv.conf";

// A global or unique-local address, on any interface: not only the first one counts.
bool IsRoutable(const AddressEntry& entry) {
  const IpAddress& ip = entry.address.ip;
  return entry.link != "lo" && !ip.IsLoopback() && !ip.IsLinkLocal() && !ip.IsMulticast();
}

bool HasRoutable(const std::vector<AddressEntry>& addresses, Family family) {
  return std::ranges::any_of(addresses, [family](const AddressEntry& entry) {
    return entry.address.ip.family() == family && IsRoutable(entry);
  });
}

// REDIRECT sends a packet to the first address of its incoming interface; if that has none of the
// family, the packet is dropped. Interfaces without any address receive nothing, and a family in
// which the pod has no address needs no warning.
void WarnOfBareInterfaces(const std::vector<AddressEntry>& addresses, capture::InitConfig& config) {
  const capture::CaptureConfig& capture = config.capture;
  if (capture.mode != capture::InterceptionMode::kRedirect || capture.inbound_ports.empty()) {
    return;
  }
  const auto has = [&addresses](const std::string& link, Family family) {
    return std::ranges::any_of(addresses, [&](const AddressEntry& entry) {
      return entry.link == link && entry.address.ip.family() == family;
    });
  };
  std::set<std::string> links;
  for (const AddressEntry& entry : addresses) links.insert(entry.link);
  links.erase("lo");
  for (const std::string& name : capture.exclude_interfaces) links.erase(name);
  for (const std::string& link : links) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      if (family == Family::kIpv6 && !capture.ipv6) continue;
      if (has(link, family) || !HasRoutable(addresses, family)) continue;
      config.warnings.push_back("interface " + link + " has no " + std::string(Name(family)) +
                                " address: REDIRECT drops such connections that arrive there");
    }
  }
}

void ReadResolvers(capture::InitConfig& config) {
  std::string path = ResolvConfOf(config.network_namespace);
  std::ifstream file;
  if (!path.empty()) file.open(path);
  // As in `ip netns exec`: a namespace without a file of its own uses the common one.
  if (!file.is_open() && !path.starts_with("/proc/") && path != kResolvConf) {
    config.warnings.push_back("the resolvers for --redirect-dns are those of " +
                              std::string(kResolvConf) + " here, since there is no " +
                              (path.empty() ? "other known for this network namespace" : path) +
                              "; --capture-all-dns needs no list");
    path = kResolvConf;
    file.open(path);
  }
  if (!file.is_open()) {
    throw Error(ErrorKind::kFailed,
                {.doing = "find the resolvers for --redirect-dns",
                 .target = path,
                 .why = "it cannot be read",
                 .help = "mount it, or pass --capture-all-dns, which needs no list"});
  }
  const std::string text(std::istreambuf_iterator<char>(file), {});
  for (const Nameserver& server : ParseResolvConf(text).nameservers) {
    std::vector<IpAddress>& servers = config.capture.dns_servers;
    if (std::ranges::find(servers, server.address.ip) == servers.end()) {
      servers.push_back(server.address.ip);
    }
  }
  if (config.capture.dns_servers.empty()) {
    config.warnings.push_back(path +
                              " names no resolver: DNS is not captured; --capture-all-dns would "
                              "capture it for any resolver");
  }
}

// No interface matches the name now: often a mistake, but it may also appear later.
void WarnOfMissingInterfaces(NetworkState& network, capture::InitConfig& config) {
  const capture::CaptureConfig& capture = config.capture;
  if (capture.exclude_interfaces.empty() && capture.include_interfaces.empty()) return;
  const std::vector<Link> links = network.socket().Links();
  const auto warn = [&](const std::vector<std::string>& names, std::string_view flag) {
    for (const std::string& name : names) {
      const auto named = [&name](const Link& link) {
        return name.back() == '+' ? link.name.starts_with(name.substr(0, name.size() - 1))
                                  : link.name == name;
      };
      if (std::ranges::any_of(links, named)) continue;
      config.warnings.push_back("there is no interface " + name + ", which " + std::string(flag) +
                                " names");
    }
  };
  warn(capture.exclude_interfaces, "--istio-exclude-interfaces");
  warn(capture.include_interfaces, "--include-interfaces");
}

}  // namespace

std::string ResolvConfOf(std::string_view network_namespace) {
  std::string_view text = network_namespace;
  const auto take = [&text](std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
  };
  if (text.empty()) return kResolvConf;
  if (take("pid:")) return "/proc/" + std::string(text) + "/root" + kResolvConf;
  if (take("/proc/")) {
    // A descriptor, /proc/12/fd/3, may be of a different namespace.
    const bool own = text.ends_with("/ns/net");
    return own ? "/proc/" + std::string(text.substr(0, text.find('/'))) + "/root" + kResolvConf
               : std::string();
  }
  const bool named = take("/run/netns/") || take("/var/run/netns/");
  if (text.find('/') != text.npos || (!named && text.starts_with('/'))) return {};
  return "/etc/netns/" + std::string(text) + "/resolv.conf";
}

void FillFromHost(capture::InitConfig& config, NetworkState& network) {
  const std::vector<AddressEntry>& addresses = network.Addresses();
  const bool routable_v6 = HasRoutable(addresses, Family::kIpv6);
  config.capture.ipv6 = config.ipv6 == capture::Ipv6Mode::kOn ||
                        (config.ipv6 == capture::Ipv6Mode::kAuto && routable_v6);
  if (routable_v6 && !config.capture.ipv6) {
    config.warnings.push_back(
        "--ipv6 off: this pod has IPv6 addresses, and their traffic is not "
        "captured");
  }
  // If the user named the resolvers, those are used.
  if (config.capture.redirect_dns && !config.capture.capture_all_dns &&
      config.capture.dns_servers.empty()) {
    ReadResolvers(config);
  }
  WarnOfBareInterfaces(addresses, config);
  WarnOfMissingInterfaces(network, config);
}

}  // namespace sluice::netns
