// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "inject/yaml/node.h"

namespace sluice::inject {

// Something that the kubelet asks of a container over the network.
struct Check {
  std::string what;                    // "livenessProbe", "preStop"
  std::string container;               // its name
  std::string action;                  // "httpGet", "tcpSocket" or "grpc"
  std::string port;                    // as it is written: a number or the name of a port
  std::optional<std::int64_t> number;  // of the port; nothing if the name is not known
};

// Reads the specification of a pod, which nobody has validated: what is not in the form of
// Kubernetes is taken for missing.
class PodReader {
 public:
  PodReader(const yaml::Reader& reader, const yaml::Node* spec) : reader_(reader), spec_(spec) {}

  const yaml::Node* Get(const yaml::Node* node, std::string_view key) const {
    return reader_.Get(node, key);
  }
  // The items of a list; empty if it is not one.
  std::vector<const yaml::Node*> Items(const yaml::Node* parent, std::string_view key) const;
  // A number, or the name of one of the container's ports.
  std::optional<std::int64_t> PortOf(const yaml::Node* container, const yaml::Node* port) const;
  // The probes and lifecycle hooks of all containers that go to a port of the pod.
  std::vector<Check> Checks() const;

  static std::string TextOf(const yaml::Node* node);
  static std::optional<std::int64_t> NumberOf(const yaml::Node* node);

 private:
  const yaml::Reader& reader_;
  const yaml::Node* spec_;
};

}  // namespace sluice::inject
