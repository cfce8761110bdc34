// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "inject/edit/operation.h"
#include "inject/yaml/node.h"

namespace sluice::inject {

// An object of Kubernetes that has pods, or is one.
struct Workload {
  std::string kind = {};
  std::string name = {};        // or, with a trailing dash, what the name is generated from
  std::string name_space = {};  // "" when it says none
  std::size_t line = 0;
  Path pod = {};  // of what has the pod's metadata and spec
  const yaml::Node* pod_node = nullptr;

  // Whether its pods are to end by themselves.
  bool runs_to_completion() const { return kind == "Job" || kind == "CronJob"; }
  // "Deployment web".
  std::string Title() const;
};

// What the pod says about an injection (kStatusAnnotation); nullptr when it says nothing.
const yaml::Node* StatusOf(const Workload& workload, const yaml::Reader& reader);

// Those of a document, also in a List: Deployment, StatefulSet, DaemonSet, ReplicaSet,
// ReplicationController, Job, CronJob and Pod of the API groups that Kubernetes has them in.
std::vector<Workload> FindWorkloads(const yaml::Node& root, const yaml::Reader& reader);

}  // namespace sluice::inject
