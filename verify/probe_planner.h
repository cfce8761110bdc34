// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/cidr.h"
#include "base/port_range.h"
#include "capture/capture_config.h"
#include "verify/probe_plan.h"

// Internal to PlanProbes: a method for each kind of path, in a file for each direction.
namespace sluice::verify {

inline constexpr PortRange kAllPorts = {1, 65535};
inline constexpr std::uint16_t kDnsPort = 53;

template <typename T>
void Append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

template <typename T>
bool Contains(const std::vector<T>& values, const T& value) {
  return std::ranges::find(values, value) != values.end();
}

template <typename T>
std::vector<T> Sample(const std::vector<T>& values) {
  if (values.size() <= kProbesPerList) return values;
  std::vector<T> out;
  for (std::size_t i = 0; i < kProbesPerList; ++i) {
    out.push_back(values[i * (values.size() - 1) / (kProbesPerList - 1)]);
  }
  return out;
}

// Plans the probes of one family.
class ProbePlanner {
 public:
  ProbePlanner(const capture::CaptureConfig& config, const ProbeSite& site)
      : config_(config), site_(site), family_(site.pod.family()) {}

  std::vector<Probe> Take();

 private:
  void FindOrdinaryOwner();
  void FindOutside();
  void FindInbound();
  void AddInbound();
  void AddInboundExempt();
  void AddOutbound();
  void AddOutboundExempt();
  void AddOwnersExempt();
  void AddSelfCalls();
  void AddDns();
  void AddInsidePod();
  void AddUnreachable();

  Probe& Add(std::string path, Landing expected, SocketAddress destination);
  void AddInboundTo(const std::string& path, Landing expected, std::optional<std::uint16_t> port);
  void AddExemptOwner(const std::string& who, Owner owner);
  void AddExemptDns(const std::string& path, const IpAddress& resolver, Owner owner);

  std::vector<Cidr> OfFamily(const std::vector<Cidr>& ranges) const;
  std::vector<IpAddress> Resolvers() const;
  bool LoExcluded() const;
  bool CapturesLoopback() const;
  // Each uid and gid of the proxy, combined with an ordinary gid or uid; or our own ids, if we
  // cannot use others.
  std::vector<std::pair<std::string, Owner>> ProxyOwners() const;

  const capture::CaptureConfig& config_;
  const ProbeSite& site_;
  const Family family_;
  std::vector<Probe> probes_;

  std::uint32_t uid_ = 0;  // of an application that is not exempt
  std::optional<std::uint32_t> gid_;
  std::vector<Cidr> blocked_;           // cannot be outside
  std::vector<PortRange> proxy_ports_;  // where we listen instead of the proxy
  std::vector<PortRange> not_outbound_;
  std::vector<IpAddress> resolvers_;
  std::optional<IpAddress> outside_;  // captured, if anything is
  std::optional<std::uint16_t> outside_port_;
  std::optional<IpAddress> client_;
  std::optional<std::uint16_t> inbound_port_;
};

}  // namespace sluice::verify
