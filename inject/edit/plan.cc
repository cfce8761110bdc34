// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/edit/plan.h"

#include <algorithm>

#include <boost/json/object.hpp>

namespace sluice::inject {
namespace {

using yaml::Node;
namespace json = boost::json;
using Kind = Operation::Kind;

// A member of the pod before the injection.
struct Slot {
  enum class State { kMissing, kNull, kThere };
  State state = State::kMissing;
  Spot spot = {};
};

Slot Look(const Node& root, const yaml::Reader& reader, const Path& path, yaml::Kind kind) {
  Slot slot{.spot = Locate(root, reader, path)};
  if (slot.spot.node == nullptr) return slot;
  const Node& node = *slot.spot.node;
  if (yaml::IsNull(node)) {
    slot.state = Slot::State::kNull;
  } else if (node.kind == kind) {
    slot.state = Slot::State::kThere;
  } else {
    throw Refusal(node.line, path.back() + " is not what it has to be: a " +
                                 (kind == yaml::Kind::kMapping ? "mapping" : "list"));
  }
  return slot;
}

void RefuseMerge(const Spot& spot) {
  if (spot.node == nullptr) return;
  if (const yaml::Member* merge = yaml::FindMember(*spot.node, "<<")) {
    throw Refusal(merge->key.line, "a merge key << is where text would have to be added");
  }
}

json::object ObjectOf(const std::vector<std::pair<std::string, std::string>>& members) {
  json::object out;
  for (const auto& [key, value] : members) out[key] = value;
  return out;
}

json::array Joined(const json::array& a, const json::array& b) {
  json::array out = a;
  out.insert(out.end(), b.begin(), b.end());
  return out;
}

// Of containers or volumes.
std::vector<std::string> NamesOf(const json::array& things) {
  std::vector<std::string> out;
  for (const json::value& each : things) out.emplace_back(each.at("name").get_string());
  return out;
}

class Planner {
 public:
  Planner(std::string_view text, const Node& root, const yaml::Reader& reader, Path pod,
          Status status)
      : text_(text),
        root_(root),
        reader_(reader),
        pod_(std::move(pod)),
        status_(std::move(status)) {}

  Plan Make(Additions additions) {
    const Path metadata_path = pod_ / "metadata";
    const Slot metadata = Look(root_, reader_, metadata_path, yaml::Kind::kMapping);
    RefuseMerge(Locate(root_, reader_, pod_));
    if (metadata.state == Slot::State::kThere) RefuseMerge(metadata.spot);
    const bool there = metadata.state == Slot::State::kThere;
    const Slot annotations =
        there ? Look(root_, reader_, metadata_path / "annotations", yaml::Kind::kMapping) : Slot();
    const Slot labels = there ? Labels(metadata_path / "labels", additions) : Slot();
    if (annotations.state == Slot::State::kThere) RefuseMerge(annotations.spot);
    KeepOwn(annotations, additions.annotations);
    KeepOwn(labels, additions.labels);

    // The status must be complete before its annotation can be added.
    for (const auto& [key, value] : additions.annotations) status_.annotations.push_back(key);
    for (const auto& [key, value] : additions.labels) status_.labels.push_back(key);
    if (!there) {
      Note("metadata", metadata);
    } else {
      Note("metadata/annotations", annotations);
      if (!additions.labels.empty()) Note("metadata/labels", labels);
    }
    const json::array init = Joined(additions.init_first, additions.init_last);
    const json::array main = Joined(additions.containers_first, additions.containers_last);
    status_.init_containers = NamesOf(init);
    status_.containers = NamesOf(main);
    const Path spec_path = pod_ / "spec";
    const Slot spec = Look(root_, reader_, spec_path, yaml::Kind::kMapping);
    if (spec.state != Slot::State::kThere) throw Refusal(0, "the pod has no spec");
    RefuseMerge(spec.spot);
    // If nothing is added, an anchor does no harm.
    const auto look_at = [&](const json::array& added, std::string_view key) {
      return added.empty() ? Slot() : Look(root_, reader_, spec_path / key, yaml::Kind::kSequence);
    };
    const Slot init_slot = look_at(init, "initContainers");
    const Slot main_slot = look_at(main, "containers");
    if (!init.empty()) Note("spec/initContainers", init_slot);
    if (!main.empty()) Note("spec/containers", main_slot);
    status_.volumes = NamesOf(additions.volumes);
    const Slot volume_slot = look_at(additions.volumes, "volumes");
    if (!additions.volumes.empty()) Note("spec/volumes", volume_slot);
    RefuseSameNames(volume_slot, status_.volumes);
    additions.annotations.emplace_back(kStatusAnnotation, WriteStatus(status_));

    if (!there) {
      json::object both{{"annotations", ObjectOf(additions.annotations)}};
      if (!additions.labels.empty()) both["labels"] = ObjectOf(additions.labels);
      Put(pod_, metadata, {{"metadata", both}});
    } else {
      std::vector<std::pair<std::string, json::value>> missing;
      PutStrings(metadata_path / "annotations", annotations, additions.annotations, missing);
      PutStrings(metadata_path / "labels", labels, additions.labels, missing);
      if (!missing.empty()) Put(metadata_path, Slot(), std::move(missing));
    }
    // One operation for all members that the spec does not have: they have one place.
    std::vector<std::pair<std::string, json::value>> missing;
    PutItems(spec_path, "initContainers", init_slot, additions.init_first, additions.init_last,
             missing);
    PutItems(spec_path, "containers", main_slot, additions.containers_first,
             additions.containers_last, missing);
    PutItems(spec_path, "volumes", volume_slot, additions.volumes, {}, missing);
    if (!missing.empty()) Put(spec_path, Slot(), std::move(missing));
    return std::move(plan_);
  }

 private:
  // Labels used elsewhere too belong to a selector, which must not change.
  Slot Labels(const Path& path, Additions& additions) {
    try {
      Slot slot = Look(root_, reader_, path, yaml::Kind::kMapping);
      if (slot.state == Slot::State::kThere) RefuseMerge(slot.spot);
      return slot;
    } catch (const Refusal& refusal) {
      if (!additions.labels.empty()) {
        plan_.warnings.push_back("the label " + additions.labels.front().first +
                                 " is left out: " + refusal.what());
      }
      additions.labels.clear();
      return {};
    }
  }

  void KeepOwn(const Slot& slot, std::vector<std::pair<std::string, std::string>>& members) const {
    if (slot.state != Slot::State::kThere) return;
    std::erase_if(members, [&](const auto& member) {
      return yaml::FindMember(*slot.spot.node, member.first) != nullptr;
    });
  }

  void Note(const std::string& name, const Slot& slot) {
    if (slot.state == Slot::State::kMissing) status_.created.push_back(name);
    if (slot.state == Slot::State::kNull) {
      const Node& node = *slot.spot.node;
      status_.was[name] =
          text_.empty() ? node.value : std::string(text_.substr(node.begin, node.end - node.begin));
    }
  }

  // Adds members to `parent`, or to `slot` if that member is null.
  void Put(const Path& parent, const Slot& slot,
           std::vector<std::pair<std::string, json::value>> members) {
    Operation operation{.parent = parent, .members = std::move(members)};
    if (slot.state == Slot::State::kNull) {
      operation.kind = Kind::kFill;
    } else {
      operation.kind = Kind::kAddMembers;
      operation.index = HasTop(Locate(root_, reader_, parent)) ? 0 : 1;
    }
    plan_.operations.push_back(std::move(operation));
  }

  void PutStrings(const Path& path, const Slot& slot,
                  const std::vector<std::pair<std::string, std::string>>& members,
                  std::vector<std::pair<std::string, json::value>>& missing) {
    if (members.empty()) return;
    if (slot.state == Slot::State::kMissing) {
      missing.emplace_back(path.back(), ObjectOf(members));
    } else if (slot.state == Slot::State::kNull) {
      Put(Path(path.begin(), path.end() - 1), slot, {{path.back(), ObjectOf(members)}});
    } else {
      std::vector<std::pair<std::string, json::value>> values(members.begin(), members.end());
      Put(path, slot, std::move(values));
    }
  }

  // Two volumes of one name make a pod invalid, and one of another content would be mounted.
  void RefuseSameNames(const Slot& slot, const std::vector<std::string>& names) const {
    if (slot.state != Slot::State::kThere) return;
    for (const Node& item : slot.spot.node->items) {
      const Node* const name = reader_.Get(reader_.Resolve(&item), "name");
      if (name == nullptr || std::ranges::find(names, name->value) == names.end()) continue;
      throw Refusal(name->line, "it has a volume " + name->value + " that was put there by hand");
    }
  }

  void PutItems(const Path& spec, const std::string& key, const Slot& slot,
                const json::array& first, const json::array& last,
                std::vector<std::pair<std::string, json::value>>& missing) {
    if (first.empty() && last.empty()) return;
    if (slot.state == Slot::State::kMissing) {
      missing.emplace_back(key, Joined(first, last));
      return;
    }
    if (slot.state != Slot::State::kThere) {
      Put(spec, slot, {{key, Joined(first, last)}});
      return;
    }
    const std::size_t count = slot.spot.node->items.size();
    const auto insert = [&](std::size_t index, const json::array& items) {
      if (items.empty()) return;
      plan_.operations.push_back(
          {.kind = Kind::kInsertItems, .parent = spec / key, .index = index, .items = items});
    };
    if (count == 0) return insert(0, Joined(first, last));
    insert(0, first);
    insert(count + first.size(), last);
  }

  std::string_view text_;
  const Node& root_;
  const yaml::Reader& reader_;
  Path pod_;
  Status status_;
  Plan plan_;
};

class Remover {
 public:
  Remover(const Node& root, const yaml::Reader& reader, Path pod, const Status& status)
      : root_(root), reader_(reader), pod_(std::move(pod)), status_(status) {}

  std::vector<Operation> Make() {
    std::vector<std::string> annotations = status_.annotations;
    annotations.emplace_back(kStatusAnnotation);
    const Path metadata = pod_ / "metadata";
    // The rest of a metadata that did not exist.
    const Spot spot = Locate(root_, reader_, metadata);
    if (spot.node != nullptr && (WasCreated("metadata") || status_.was.contains("metadata")) &&
        HasOnly(*spot.node, metadata, annotations)) {
      Drop("metadata", metadata);
    } else {
      RemoveMembers("metadata/annotations", metadata / "annotations", annotations);
      if (!status_.labels.empty()) {
        RemoveMembers("metadata/labels", metadata / "labels", status_.labels);
      }
    }
    RemoveItems("spec/initContainers", pod_ / "spec" / "initContainers", status_.init_containers);
    RemoveItems("spec/containers", pod_ / "spec" / "containers", status_.containers);
    RemoveItems("spec/volumes", pod_ / "spec" / "volumes", status_.volumes);
    return std::move(operations_);
  }

 private:
  bool WasCreated(std::string_view name) const {
    return std::ranges::find(status_.created, name) != status_.created.end();
  }

  static bool Contains(const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  }

  static bool AllOf(const Node& mapping, const std::vector<std::string>& names) {
    return mapping.IsMapping() && std::ranges::all_of(mapping.members, [&](const auto& member) {
             return Contains(names, member.key.value);
           });
  }

  bool HasOnly(const Node& metadata, const Path& path,
               const std::vector<std::string>& annotations) const {
    return metadata.IsMapping() &&
           std::ranges::all_of(metadata.members, [&](const yaml::Member& member) {
             const Spot spot = Locate(root_, reader_, path / member.key.value);
             if (spot.node == nullptr) return false;
             return (member.key.value == "annotations" && AllOf(*spot.node, annotations)) ||
                    (member.key.value == "labels" && AllOf(*spot.node, status_.labels));
           });
  }

  // Removes a member that is entirely ours, or restores its null.
  void Drop(const std::string& name, const Path& path) {
    Operation operation{.parent = Path(path.begin(), path.end() - 1),
                        .members = {{path.back(), nullptr}}};
    if (WasCreated(name)) {
      // Members of one mapping are removed in one step, because of the commas between them.
      for (Operation& other : operations_) {
        if (other.kind != Kind::kRemoveMembers || other.parent != operation.parent) continue;
        other.members.push_back(operation.members[0]);
        return;
      }
      operation.kind = Kind::kRemoveMembers;
    } else {
      operation.kind = Kind::kClear;
      const auto was = status_.was.find(name);
      if (was != status_.was.end()) operation.text = was->second;
    }
    operations_.push_back(std::move(operation));
  }

  // Whether a collection would become empty, so that its member is removed or becomes null. An
  // empty one in flow style stays {} or [], as it was.
  bool GoesAsAWhole(const std::string& name, const Node& node, bool all) const {
    return all && (WasCreated(name) || status_.was.contains(name) || !node.flow);
  }

  void RemoveMembers(const std::string& name, const Path& path,
                     const std::vector<std::string>& keys) {
    const Spot spot = Locate(root_, reader_, path);
    if (spot.node == nullptr || !spot.node->IsMapping() || spot.node->members.empty()) return;
    if (GoesAsAWhole(name, *spot.node, AllOf(*spot.node, keys))) return Drop(name, path);
    Operation operation{.kind = Kind::kRemoveMembers, .parent = path};
    for (const std::string& key : keys) {
      if (yaml::FindMember(*spot.node, key) != nullptr)
        operation.members.emplace_back(key, nullptr);
    }
    if (!operation.members.empty()) operations_.push_back(std::move(operation));
  }

  void RemoveItems(const std::string& name, const Path& path,
                   const std::vector<std::string>& names) {
    // If nothing is removed, an anchor that is used elsewhere does no harm.
    if (names.empty()) return;
    const Spot spot = Locate(root_, reader_, path);
    if (spot.node == nullptr || !spot.node->IsSequence()) return;
    Operation operation{.kind = Kind::kRemoveItems, .parent = path};
    const auto& items = spot.node->items;
    for (std::size_t i = 0; i < items.size(); ++i) {
      const Node* item = reader_.Resolve(&items[i]);
      const Node* own = reader_.Get(item, "name");
      if (own != nullptr && Contains(names, own->value)) operation.indices.push_back(i);
    }
    if (operation.indices.empty()) return;
    const bool all = operation.indices.size() == items.size();
    if (GoesAsAWhole(name, *spot.node, all)) return Drop(name, path);
    operations_.push_back(std::move(operation));
  }

  const Node& root_;
  const yaml::Reader& reader_;
  Path pod_;
  const Status& status_;
  std::vector<Operation> operations_;
};

}  // namespace

Plan PlanAdditions(std::string_view text, const Node& root, const yaml::Reader& reader,
                   const Path& pod, const Additions& additions, Status status) {
  return Planner(text, root, reader, pod, std::move(status)).Make(additions);
}

std::vector<Operation> PlanRemovals(const Node& root, const yaml::Reader& reader, const Path& pod,
                                    const Status& status) {
  return Remover(root, reader, pod, status).Make();
}

}  // namespace sluice::inject
