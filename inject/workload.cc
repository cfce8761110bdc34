// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/workload.h"

#include <algorithm>
#include <array>

#include "inject/edit/status.h"

namespace sluice::inject {
namespace {

using yaml::Node;

struct KindSpec {
  std::string_view kind;
  // "" is the core group. A Job of another group is something else.
  std::array<std::string_view, 2> groups;
  std::array<std::string_view, 4> pod;  // the path of its pod, padded with ""
};

constexpr std::array<KindSpec, 8> kKinds = {{
    {"Deployment", {"apps", "extensions"}, {"spec", "template"}},
    {"StatefulSet", {"apps", "apps"}, {"spec", "template"}},
    {"DaemonSet", {"apps", "extensions"}, {"spec", "template"}},
    {"ReplicaSet", {"apps", "extensions"}, {"spec", "template"}},
    {"ReplicationController", {"", ""}, {"spec", "template"}},
    {"Job", {"batch", "batch"}, {"spec", "template"}},
    {"CronJob", {"batch", "batch"}, {"spec", "jobTemplate", "spec", "template"}},
    {"Pod", {"", ""}, {}},
}};

std::string TextOf(const Node* node) {
  return node != nullptr && node->IsScalar() && !yaml::IsNull(*node) ? node->value : std::string();
}

void Find(const Node* node, const Path& path, const yaml::Reader& reader,
          std::vector<Workload>& out) {
  node = reader.Resolve(node);
  // Nested lists are legal, and not deep.
  constexpr std::size_t kMaxPath = 32;
  if (node == nullptr || !node->IsMapping() || path.size() > kMaxPath) return;
  const std::string kind = TextOf(reader.Get(node, "kind"));
  const std::string version = TextOf(reader.Get(node, "apiVersion"));
  if (kind == "List" && version == "v1") {
    const Node* items = reader.Get(node, "items");
    if (items == nullptr) return;
    for (std::size_t i = 0; i < items->items.size(); ++i) {
      Find(&items->items[i], path / "items" / std::to_string(i), reader, out);
    }
    return;
  }
  const auto slash = version.find('/');
  const std::string_view group =
      slash == std::string::npos ? std::string_view() : std::string_view(version).substr(0, slash);
  const auto found = std::ranges::find(kKinds, kind, &KindSpec::kind);
  if (found == kKinds.end() || std::ranges::find(found->groups, group) == found->groups.end()) {
    return;
  }
  Workload workload{.kind = kind, .line = node->line, .pod = path, .pod_node = node};
  const Node* metadata = reader.Get(node, "metadata");
  workload.name = TextOf(reader.Get(metadata, "name"));
  if (workload.name.empty()) workload.name = TextOf(reader.Get(metadata, "generateName"));
  workload.name_space = TextOf(reader.Get(metadata, "namespace"));
  for (const std::string_view key : found->pod) {
    if (key.empty()) break;
    workload.pod.emplace_back(key);
    workload.pod_node = reader.Get(workload.pod_node, key);
  }
  // Without a template there is no pod.
  if (workload.pod_node != nullptr && workload.pod_node->IsMapping()) {
    out.push_back(std::move(workload));
  }
}

}  // namespace

std::string Workload::Title() const { return name.empty() ? kind : kind + " " + name; }

std::vector<Workload> FindWorkloads(const Node& root, const yaml::Reader& reader) {
  std::vector<Workload> out;
  Find(&root, {}, reader, out);
  return out;
}

const yaml::Node* StatusOf(const Workload& workload, const yaml::Reader& reader) {
  return reader.Get(reader.Get(reader.Get(workload.pod_node, "metadata"), "annotations"),
                    kStatusAnnotation);
}

}  // namespace sluice::inject
