// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <charconv>
#include <fstream>

#include "base/error.h"
#include "base/pod_contract.h"
#include "doctor/readers.h"
#include "netns/host.h"
#include "netns/network_steps.h"
#include "netns/sysctl.h"

namespace sluice::doctor {
namespace {

int ReadNumber(const std::string& name) {
  const std::string text = netns::ReadSysctl(name);
  int value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

void ReadIpv4Settings(const std::vector<netns::Link>& links, Facts& facts) {
  std::vector<std::string> names = {"all"};
  for (const netns::Link& link : links) names.push_back(link.name);
  for (const std::string& name : names) {
    try {
      facts.rp_filter[name] = ReadNumber("ipv4/conf/" + name + "/rp_filter");
      facts.src_valid_mark[name] = ReadNumber("ipv4/conf/" + name + "/src_valid_mark");
    } catch (const Error& error) {
      facts.no_rp_filter = error.what();
    }
  }
}

}  // namespace

void ReadNetwork(netns::NetworkState& network, Facts& facts) {
  try {
    facts.addresses = network.Addresses();
    facts.has_passthrough_address =
        std::ranges::any_of(*facts.addresses, [](const netns::AddressEntry& entry) {
          return entry.link == "lo" && entry.address.ip == pod::PassthroughSource(Family::kIpv6);
        });
    ReadIpv4Settings(network.socket().Links(), facts);
  } catch (const Error& error) {
    facts.addresses = Known<std::vector<netns::AddressEntry>>::Not(error.what());
  }
  try {
    facts.ipv6_off_on_lo = ReadNumber("ipv6/conf/lo/disable_ipv6") != 0;
  } catch (const Error& error) {
    // A kernel without IPv6 has none of these settings.
    if (error.kind() == ErrorKind::kKernelFeature) {
      facts.ipv6_off_on_lo = true;
    } else {
      facts.ipv6_off_on_lo = Known<bool>::Not(error.what());
    }
  }
  try {
    std::map<Family, std::size_t> there;
    for (const Family family : capture::kFamilies) {
      there[family] = netns::PolicyRoutingStep(network, family, std::nullopt).Have().size();
    }
    facts.policy_routing = std::move(there);
  } catch (const Error& error) {
    facts.policy_routing = Known<std::map<Family, std::size_t>>::Not(error.what());
  }
}

void ReadResolvers(std::string_view network_namespace, Facts& facts) {
  constexpr const char* kEverybodys = "/etc/resolv.conf";
  facts.resolv_conf = netns::ResolvConfOf(network_namespace);
  // As in `ip netns exec`: a namespace without a file of its own uses the common one.
  if (facts.resolv_conf.empty() ||
      (!facts.resolv_conf.starts_with("/proc/") && !std::ifstream(facts.resolv_conf).is_open())) {
    facts.resolv_conf = kEverybodys;
  }
  try {
    facts.resolvers = ReadResolvConf(facts.resolv_conf);
  } catch (const Error& error) {
    facts.resolvers = Known<ResolvConf>::Not(error.what());
  }
}

}  // namespace sluice::doctor
