// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/pod_reader.h"

#include <stdexcept>

#include "base/parse.h"

namespace sluice::inject {

using yaml::Node;

std::vector<const Node*> PodReader::Items(const Node* parent, std::string_view key) const {
  std::vector<const Node*> out;
  const Node* list = Get(parent, key);
  if (list == nullptr || !list->IsSequence()) return out;
  for (const Node& item : list->items) {
    if (const Node* node = reader_.Resolve(&item)) out.push_back(node);
  }
  return out;
}

std::string PodReader::TextOf(const Node* node) {
  return node != nullptr && node->IsScalar() && !yaml::IsNull(*node) ? node->value : std::string();
}

std::optional<std::int64_t> PodReader::NumberOf(const Node* node) {
  if (node == nullptr || !node->IsScalar()) return {};
  try {
    return static_cast<std::int64_t>(ParseNumber(node->value, 0, 0xffffffff));
  } catch (const std::invalid_argument&) {
    return {};
  }
}

std::optional<std::int64_t> PodReader::PortOf(const Node* container, const Node* port) const {
  if (const auto number = NumberOf(port)) return number;
  for (const Node* const each : Items(container, "ports")) {
    if (port != nullptr && TextOf(Get(each, "name")) == port->value) {
      return NumberOf(Get(each, "containerPort"));
    }
  }
  return {};
}

std::vector<Check> PodReader::Checks() const {
  std::vector<Check> out;
  for (const char* const list : {"initContainers", "containers"}) {
    for (const Node* const container : Items(spec_, list)) {
      const auto add = [&](const char* what, const Node* handler) {
        for (const char* const action : {"httpGet", "tcpSocket", "grpc"}) {
          const Node* const node = Get(handler, action);
          const Node* const port = Get(node, "port");
          // Another host than the pod.
          if (TextOf(port).empty() || !TextOf(Get(node, "host")).empty()) continue;
          out.push_back({.what = what,
                         .container = TextOf(Get(container, "name")),
                         .action = action,
                         .port = port->value,
                         .number = PortOf(container, port)});
        }
      };
      for (const char* const probe : {"livenessProbe", "readinessProbe", "startupProbe"}) {
        add(probe, Get(container, probe));
      }
      const Node* const lifecycle = Get(container, "lifecycle");
      for (const char* const hook : {"postStart", "preStop"}) add(hook, Get(lifecycle, hook));
    }
  }
  return out;
}

}  // namespace sluice::inject
