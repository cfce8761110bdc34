// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "inject/edit/operation.h"
#include "inject/yaml/node.h"

namespace sluice::inject {

// A Kubernetes object that has pods, or is one.
struct Workload {
  std::string kind = {};
  std::string name = {};        // with a trailing dash, the prefix of a generated name
  std::string name_space = {};  // "" if it has none
  std::size_t line = 0;
  Path pod = {};  // the object with the pod's metadata and spec
  const yaml::Node* pod_node = nullptr;

  // Whether its pods are meant to finish.
  bool runs_to_completion() const { return kind == "Job" || kind == "CronJob"; }
  // "Deployment web".
  std::string Title() const;
};

// The pod's status annotation (kStatusAnnotation); nullptr if it has none.
const yaml::Node* StatusOf(const Workload& workload, const yaml::Reader& reader);

// The workloads in a document, also within a List: Deployment, StatefulSet, DaemonSet, ReplicaSet,
// ReplicationController, Job, CronJob and Pod, each in its Kubernetes API groups.
std::vector<Workload> FindWorkloads(const yaml::Node& root, const yaml::Reader& reader);

}  // namespace sluice::inject
