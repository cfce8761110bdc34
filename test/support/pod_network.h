// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ip_address.h"
#include "netns/namespace.h"

namespace sluice::testing_support {

// The namespaces of one test. They have no names, so nothing is left when the test ends. If the
// test has failed, the destructor prints the nsenter(1) line for each of them; with SLUICE_PAUSE=1
// in the environment it also stops the process (SIGSTOP) for a look inside.
class Namespaces {
 public:
  Namespaces() = default;
  Namespaces(const Namespaces&) = delete;
  Namespaces& operator=(const Namespaces&) = delete;
  ~Namespaces();

  // Creates one with lo up; `label` is for messages. The reference stays valid.
  const netns::Namespace& Add(std::string label);

 private:
  // By pointer, so that references stay valid when the vector grows.
  std::vector<std::pair<std::string, std::unique_ptr<netns::Namespace>>> namespaces_;
};

// A pod and the world outside, with the same topology as in the conformance set. Each
// namespace has two devices; the pod's default routes go to eth0 of the outside.
//   pod, eth0:      192.0.2.2/24  fd00:2::2/64
//   pod, eth1:      192.0.3.2/24  fd00:3::2/64
//   outside, eth0:  192.0.2.1/24  fd00:2::1/64
//   outside, eth1:  192.0.3.1/24  fd00:3::1/64
//   outside, lo:    198.51.100.1  203.0.113.9  10.96.0.10  2001:db8::1  2001:db8:ffff::1
// Without IPv6 the addresses of that family are left out.
class PodNetwork {
 public:
  enum class Ipv6 : bool { kNo, kYes };

  explicit PodNetwork(Ipv6 ipv6 = Ipv6::kYes);

  const netns::Namespace& pod() const { return pod_; }
  const netns::Namespace& outside() const { return outside_; }

 private:
  Namespaces namespaces_;
  const netns::Namespace& pod_;
  const netns::Namespace& outside_;
};

// A node that routes between a client pod and server pods. Pod number i (the client is 0, the
// servers count from 1) has eth0 with 10.244.i.2/24 and fd00:244:i::2/64, and its default route
// through the node. The service addresses are on lo of every server, and the node distributes
// connections to them over the servers by address and port (a multipath route, without address
// translation).
class Cluster {
 public:
  explicit Cluster(int servers = 2);

  const netns::Namespace& node() const { return node_; }
  const netns::Namespace& client() const { return *pods_.front(); }
  const netns::Namespace& server(int number) const {
    return *pods_.at(static_cast<std::size_t>(number));
  }
  int servers() const { return static_cast<int>(pods_.size()) - 1; }

  static IpAddress PodIp(int pod, Family family);
  static IpAddress ServiceIp(Family family);

 private:
  Namespaces namespaces_;
  const netns::Namespace& node_;
  std::vector<const netns::Namespace*> pods_;
};

}  // namespace sluice::testing_support
