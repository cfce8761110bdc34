// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/edit/operation.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace sluice::inject {
namespace {

using yaml::Member;
using yaml::Node;

std::optional<std::size_t> IndexOf(const std::string& key, std::size_t size) {
  std::size_t index = 0;
  const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), index);
  if (code != std::errc{} || end != key.data() + key.size() || index >= size) return {};
  return index;
}

// Non-const FindMember().
auto FindIn(Node& mapping, std::string_view key) {
  const auto found = std::find_if(
      mapping.members.rbegin(), mapping.members.rend(),
      [key](const Member& member) { return member.key.IsScalar() && member.key.value == key; });
  return found == mapping.members.rend() ? mapping.members.end() : std::prev(found.base());
}

Node* Find(Node& root, const Path& path) {
  Node* node = &root;
  for (const std::string& key : path) {
    if (node->IsSequence()) {
      const auto index = IndexOf(key, node->items.size());
      if (!index) return nullptr;
      node = &node->items[*index];
    } else {
      const auto member = FindIn(*node, key);
      if (member == node->members.end()) return nullptr;
      node = &member->value;
    }
  }
  return node;
}

void ApplyOne(Node& root, const Operation& operation) {
  Node* const parent = Find(root, operation.parent);
  if (parent == nullptr) throw Refusal(0, "an operation has no parent");
  const auto at = static_cast<std::ptrdiff_t>(operation.index);
  switch (operation.kind) {
    case Operation::Kind::kAddMembers: {
      std::vector<Member> added;
      for (const auto& [key, value] : operation.members) {
        added.push_back({ToNode(boost::json::value(key)), ToNode(value)});
      }
      parent->members.insert(parent->members.begin() + at, added.begin(), added.end());
      return;
    }
    case Operation::Kind::kInsertItems: {
      std::vector<Node> added;
      for (const auto& item : operation.items) added.push_back(ToNode(item));
      parent->items.insert(parent->items.begin() + at, added.begin(), added.end());
      return;
    }
    case Operation::Kind::kFill:
    case Operation::Kind::kClear: {
      const auto member = FindIn(*parent, operation.members.at(0).first);
      if (member == parent->members.end()) throw Refusal(0, "an operation has no member");
      if (operation.kind == Operation::Kind::kFill) {
        member->value = ToNode(operation.members[0].second);
      } else {
        member->value = Node();
        member->value.value = operation.text;
      }
      return;
    }
    case Operation::Kind::kRemoveMembers:
      for (const auto& [key, value] : operation.members) {
        const auto member = FindIn(*parent, key);
        if (member != parent->members.end()) parent->members.erase(member);
      }
      return;
    case Operation::Kind::kRemoveItems:
      for (auto index = operation.indices.rbegin(); index != operation.indices.rend(); ++index) {
        parent->items.erase(parent->items.begin() + static_cast<std::ptrdiff_t>(*index));
      }
      return;
  }
}

std::string Pointer(const Path& path) {
  std::string out;
  for (const std::string& key : path) {
    out += '/';
    for (const char c : key) {
      if (c == '~') {
        out += "~0";
      } else if (c == '/') {
        out += "~1";
      } else {
        out += c;
      }
    }
  }
  return out;
}

void RefuseShared(const Node& node, const yaml::Reader& reader) {
  if (node.IsAlias()) {
    throw Refusal(node.line, "*" + node.value + " is where text would have to be added, which " +
                                 "would change what &" + node.value + " names");
  }
  if (reader.IsShared(node)) {
    throw Refusal(node.line, "the value of &" + node.anchor +
                                 " is used elsewhere too, which a change here would change");
  }
}

}  // namespace

Node ToNode(const boost::json::value& value) {
  Node node;
  if (value.is_object()) {
    node.kind = yaml::Kind::kMapping;
    node.flow = true;
    node.members.reserve(value.get_object().size());
    for (const auto& [key, member] : value.get_object()) {
      Member& added = node.members.emplace_back();
      added.key.style = yaml::Style::kDoubleQuoted;
      added.key.value = key;
      added.value = ToNode(member);
    }
  } else if (value.is_array()) {
    node.kind = yaml::Kind::kSequence;
    node.flow = true;
    node.items.reserve(value.get_array().size());
    for (const auto& item : value.get_array()) node.items.push_back(ToNode(item));
  } else if (value.is_string()) {
    node.style = yaml::Style::kDoubleQuoted;
    node.value = value.get_string();
  } else {
    node.value = boost::json::serialize(value);
  }
  return node;
}

Path operator/(Path path, std::string_view key) {
  path.emplace_back(key);
  return path;
}

Spot Locate(const Node& root, const yaml::Reader& reader, const Path& path) {
  Spot spot{.node = &root};
  RefuseShared(root, reader);
  for (const std::string& key : path) {
    const Node& parent = *spot.node;
    if (parent.IsSequence()) {
      const auto index = IndexOf(key, parent.items.size());
      if (!index) return {};
      spot = {.node = &parent.items[*index]};
    } else if (parent.IsMapping()) {
      const Member* const member = yaml::FindMember(parent, key);
      if (member == nullptr) {
        if (const Member* const merge = yaml::FindMember(parent, "<<")) {
          throw Refusal(merge->key.line, "the merge key << provides the place where " + key +
                                             " would have to be added");
        }
        return {};
      }
      spot = {.node = &member->value, .member = member, .in_flow = parent.flow};
    } else {
      return {};
    }
    RefuseShared(*spot.node, reader);
  }
  return spot;
}

bool HasTop(const Spot& mapping) {
  if (mapping.node->flow || mapping.node->members.empty()) return true;
  return mapping.member != nullptr &&
         mapping.node->members.front().key.line > mapping.member->key.line;
}

Node Apply(Node root, const std::vector<Operation>& operations) {
  for (const Operation& operation : operations) ApplyOne(root, operation);
  return root;
}

boost::json::array ToJsonPatch(const std::vector<Operation>& operations) {
  boost::json::array patch;
  const auto add = [&patch](std::string_view what, const Path& path) -> boost::json::object& {
    return patch.emplace_back(boost::json::object{{"op", what}, {"path", Pointer(path)}})
        .get_object();
  };
  for (const Operation& operation : operations) {
    std::size_t index = operation.index;
    switch (operation.kind) {
      case Operation::Kind::kAddMembers:
      case Operation::Kind::kFill:
        for (const auto& [key, value] : operation.members) {
          add("add", operation.parent / key)["value"] = value;
        }
        break;
      case Operation::Kind::kInsertItems:
        for (const auto& item : operation.items) {
          add("add", operation.parent / std::to_string(index++))["value"] = item;
        }
        break;
      case Operation::Kind::kRemoveMembers:
        for (const auto& [key, value] : operation.members) add("remove", operation.parent / key);
        break;
      case Operation::Kind::kRemoveItems:
        // Backwards, so that earlier positions stay valid.
        for (auto each = operation.indices.rbegin(); each != operation.indices.rend(); ++each) {
          add("remove", operation.parent / std::to_string(*each));
        }
        break;
      case Operation::Kind::kClear:
        add("replace", operation.parent / operation.members.at(0).first)["value"] = nullptr;
        break;
    }
  }
  return patch;
}

std::string ApplyEdits(std::string_view text, std::vector<TextEdit> edits) {
  std::ranges::stable_sort(edits, {}, &TextEdit::begin);
  std::string out;
  std::size_t done = 0;
  for (const TextEdit& edit : edits) {
    if (edit.begin < done) throw Refusal(0, "two changes are for one place");
    out += text.substr(done, edit.begin - done);
    out += edit.text;
    done = edit.end;
  }
  out += text.substr(done);
  return out;
}

}  // namespace sluice::inject
