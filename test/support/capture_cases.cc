// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/support/capture_cases.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <iterator>
#include <ostream>
#include <stdexcept>

#include "capture/settings/init_config.h"
#include "capture/settings/settings.h"

namespace sluice::testing_support {
namespace {

using Args = std::vector<std::string>;

// The flags of every injected pod today; a case adds to them. Of two equal flags the last counts.
Args Base(std::initializer_list<std::string> more) {
  Args args = {"-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "*"};
  args.insert(args.end(), more);
  return args;
}

// The same without outbound capture, except what the case names.
Args Inbound(std::initializer_list<std::string> more) {
  Args args = {"-p", "15001", "-z", "15006", "-u", "1337", "-b", "*"};
  args.insert(args.end(), more);
  return args;
}

Args Manifest(std::string_view mode, std::string_view excluded_ports,
              std::initializer_list<std::string> more = {}) {
  Args args = {"-p", "15001", "-z", "15006", "-u", "1337", "-m", std::string(mode),
               "-i", "*",     "-x", "",      "-b", "*",    "-d", std::string(excluded_ports)};
  args.insert(args.end(), more);
  return args;
}

// The cases of the conformance set.
std::vector<CaptureCase> ReferenceCases() {
  return {
      {"seed-manifest", Manifest("REDIRECT", "15090,15020"), {}, false},
      {"current-manifest", Manifest("REDIRECT", "15090,15021,15020")},
      {"seed-dual-stack", Manifest("REDIRECT", "15090,15020", {"--dual-stack"}), {}, false},
      {"inbound-none", {"-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", ""}},
      {"inbound-list", {"-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "80,8080"}},
      {"outbound-none", Inbound({"-i", ""})},
      {"outbound-cidrs", Inbound({"-i", "198.51.100.0/24,10.96.0.0/16"})},
      {"outbound-exclude-cidr", Base({"-x", "203.0.113.0/24,192.0.2.0/24"})},
      {"outbound-ports", Inbound({"-i", "", "-q", "443,9000"})},
      {"outbound-ports-exclude", Base({"-o", "22,443"})},
      {"gid-only", Base({"-g", "1337"})},
      {"multi-uid",
       {"-p", "15001", "-z", "15006", "-u", "3,4", "-g", "3000,4000", "-i", "*", "-b", "*"}},
      {"loopback-included", Inbound({"-i", "127.1.2.3/32"})},
      {"owner-groups-include", Base({}), {"ISTIO_OUTBOUND_OWNER_GROUPS=202,888"}},
      {"exclude-interface", Base({"-c", "eth1"})},
      {"virt-interface",
       {"-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "80", "-k", "eth1"}},
      {"drop-invalid", Base({"--drop-invalid"})},
      {"dns-all", Base({"--redirect-dns", "--capture-all-dns"}), {}, false},
      {"dns-resolvconf", Base({"--redirect-dns"})},
      {"dns-all-v6", Base({"--redirect-dns", "--capture-all-dns", "--dual-stack"})},
      {"tproxy-all", Manifest("TPROXY", "15090,15020")},
      {"tproxy-list",
       {"-p", "15001", "-z", "15006", "-u", "1337", "-m", "TPROXY", "-i", "*", "-b", "80,8080"}},
      {"tproxy-dual", Manifest("TPROXY", "15020", {"--dual-stack"})},
      {"v6-cidrs",
       {"-p", "15001", "-z", "15006", "-u", "1337", "-b", "80", "-i",
        "2001:db8::/48,198.51.100.0/24", "-x", "2001:db8:ffff::/48", "--dual-stack"}},
  };
}

// Cases that istio-iptables cannot express or gets wrong, and combinations.
std::vector<CaptureCase> FurtherCases() {
  return {
      {"defaults", {}},
      {"no-ipv6", Base({"--ipv6", "off"})},
      {"other-ports", {"-p", "16001", "-z", "16006", "-e", "16008", "-i", "*", "-b", "*"}},
      {"port-ranges",
       {"-i", "", "-b", "8000-8999,80", "-q", "443,9000-9099", "-o", "22,31000-31999"}},
      {"exclude-port-ranges", Base({"-d", "15090,15020-15021", "-o", "9000-9099"})},
      {"several-uids-and-gids", Base({"-u", "1337,3,4", "-g", "1337,202"})},
      {"other-gid", Base({"-g", "888"})},
      {"owner-groups-none", Base({"--istio-outbound-owner-groups", ""})},
      {"owner-groups-exclude", Base({"--istio-outbound-owner-groups-exclude", "202,888"})},
      {"exclude-owners", Base({"--exclude-uids", "1000,2000", "--exclude-gids", "202"})},
      {"include-interfaces", Base({"--include-interfaces", "eth1,net+"})},
      {"exclude-interfaces", Base({"-c", "eth1,cali+"})},
      {"include-and-exclude-interfaces", Base({"--include-interfaces", "eth+", "-c", "eth1"})},
      {"inbound-exclude-cidr", Base({"--istio-inbound-exclude-cidr", "192.0.3.0/24,fd00:3::/64"})},
      {"capture-listening", Base({"-d", "15090,15020", "--capture-listening"})},
      {"capture-listening-list",
       {"-u", "1337", "-b", "80,8080", "--capture-listening", "--istio-inbound-exclude-cidr",
        "192.0.3.0/24"}},
      {"virt-and-cidrs", Inbound({"-i", "198.51.100.0/24,2001:db8::/48", "-k", "eth1,tap+"})},
      {"virt-and-nothing-outbound", Inbound({"-i", "", "-k", "eth1"})},
      {"dns-v4-resolver-only", Base({"--redirect-dns"}), {}, true, {"10.96.0.10"}},
      {"dns-no-resolver", Base({"--redirect-dns"}), {}, true, {}},
      {"dns-and-exclude",
       Base({"--redirect-dns", "-x", "10.96.0.0/16,203.0.113.0/24", "-o", "22", "--exclude-uids",
             "2000", "--istio-outbound-owner-groups-exclude", "888"})},
      {"dns-several-uids",
       Base({"--redirect-dns", "--capture-all-dns", "-u", "1337,3", "-g", "202"})},
      {"tproxy-drop-invalid", Manifest("TPROXY", "15020", {"--drop-invalid"})},
      {"tproxy-custom-mark", Manifest("TPROXY", "15020", {"-t", "4660", "-r", "200"})},
      {"tproxy-interfaces", Manifest("TPROXY", "15020",
                                     {"-c", "eth1", "-k", "tap0", "--include-interfaces", "eth+",
                                      "--istio-inbound-exclude-cidr", "192.0.3.0/24"})},
      {"tproxy-dns", Manifest("TPROXY", "15020", {"--redirect-dns", "--capture-all-dns"})},
      {"tproxy-inbound-none", {"-u", "1337", "-m", "TPROXY", "-i", "*", "-b", ""}},
      {"many-excluded-cidrs",
       Base({"-x", ManyHosts(Family::kIpv4, 60) + "," + ManyHosts(Family::kIpv6, 60)})},
      {"many-included-cidrs", Inbound({"-i", ManyHosts(Family::kIpv4, 60) + ",198.51.100.0/24"})},
      {"many-excluded-sources",
       Base({"--istio-inbound-exclude-cidr", ManyHosts(Family::kIpv4, 40)})},
      {"cidrs-that-merge",
       Base({"-x", "10.0.0.0/9,10.128.0.0/9,10.1.2.3,192.0.2.1/24, 192.0.3.0/24,"})},
      {"loopback-range", Base({"--istio-outbound-ipv4-loopback-cidr", "127.0.0.0/8"})},
      {"everything",
       Base({"-d", "15020-15021", "-x", "203.0.113.0/24,2001:db8:ffff::/48", "-q", "9000-9099",
             "-o", "22", "-c", "eth9", "--include-interfaces", "eth+", "--exclude-uids", "2000",
             "--redirect-dns", "--drop-invalid", "--istio-inbound-exclude-cidr", "192.0.3.0/24"})},
  };
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const CaptureCase& chosen) {
  return out << chosen.name;
}

const std::vector<CaptureCase>& CaptureCases() {
  static const std::vector<CaptureCase> cases = [] {
    std::vector<CaptureCase> all = ReferenceCases();
    std::ranges::move(FurtherCases(), std::back_inserter(all));
    return all;
  }();
  return cases;
}

const CaptureCase& FindCase(std::string_view name) {
  const auto found = std::ranges::find(CaptureCases(), name, &CaptureCase::name);
  if (found == CaptureCases().end()) throw std::out_of_range("no case " + std::string(name));
  return *found;
}

capture::CaptureConfig ConfigOf(const CaptureCase& chosen) {
  const auto environment = [&chosen](const char* name) -> const char* {
    const std::string start = std::string(name) + "=";
    for (const std::string& variable : chosen.environment) {
      if (variable.starts_with(start)) return variable.c_str() + start.size();
    }
    return nullptr;
  };
  capture::InitConfig config =
      capture::ToInitConfig(capture::ParseCommandLine(chosen.args, environment));
  // What FillFromHost would find in such a pod.
  config.capture.ipv6 = config.ipv6 == capture::Ipv6Mode::kOn ||
                        (config.ipv6 == capture::Ipv6Mode::kAuto && chosen.pod_has_ipv6);
  if (config.capture.redirect_dns && !config.capture.capture_all_dns) {
    for (const std::string& resolver : chosen.resolvers) {
      config.capture.dns_servers.push_back(IpAddress::Parse(resolver));
    }
  }
  return config.capture;
}

std::string ManyHosts(Family family, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    if (!out.empty()) out += ",";
    // Two apart, so that they do not merge.
    out += family == Family::kIpv4
               ? "10." + std::to_string(i / 16) + "." + std::to_string(i % 16) + "." +
                     std::to_string(2 * (i % 100))
               : "2001:db8:" + std::to_string(i / 16) + "::" + std::to_string(2 * (i % 16));
  }
  return out;
}

std::string TestName(std::string_view text) {
  std::string out(text);
  std::ranges::replace_if(
      out, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return out;
}

}  // namespace sluice::testing_support
