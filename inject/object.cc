// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/object.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include "inject/edit/operation.h"
#include "inject/edit/plan.h"
#include "inject/edit/status.h"

namespace sluice::inject {
namespace {

using yaml::Node;

// In the format of boost::json::serialize().
void Write(const Node& node, std::string& out) {
  const auto quoted = [](const std::string& text) {
    return boost::json::serialize(boost::json::string(text));
  };
  const char* separator = "";
  if (node.IsMapping()) {
    out += '{';
    for (const yaml::Member& member : node.members) {
      out += separator + quoted(member.key.value) + ":";
      Write(member.value, out);
      separator = ",";
    }
    out += '}';
  } else if (node.IsSequence()) {
    out += '[';
    for (const Node& item : node.items) {
      out += separator;
      Write(item, out);
      separator = ",";
    }
    out += ']';
  } else {
    out += node.style == yaml::Style::kPlain ? node.value : quoted(node.value);
  }
}

// The status includes a fingerprint of the original text, which differs if others have added to our
// additions; so ignore it.
bool SameStatus(const std::string& a, const std::string& b) {
  std::optional<Status> first = ReadStatus(a);
  std::optional<Status> second = ReadStatus(b);
  if (!first || !second) return false;
  first->original = second->original = {};
  return *first == *second;
}

// Whether `there` is `wanted`, possibly with more members in its mappings.
bool Covers(const Node& there, const Node& wanted) {
  if (there.kind != wanted.kind) return false;
  if (wanted.IsMapping()) {
    return std::ranges::all_of(wanted.members, [&](const yaml::Member& member) {
      const yaml::Member* const own = yaml::FindMember(there, member.key.value);
      if (own == nullptr) return false;
      if (member.key.value == kStatusAnnotation && own->value.IsScalar() &&
          member.value.IsScalar()) {
        return SameStatus(own->value.value, member.value.value);
      }
      return Covers(own->value, member.value);
    });
  }
  if (wanted.IsSequence()) {
    return there.items.size() == wanted.items.size() &&
           std::equal(there.items.begin(), there.items.end(), wanted.items.begin(), Covers);
  }
  return there.style == wanted.style && there.value == wanted.value;
}

// The injection of one object.
class Injection {
 public:
  Injection(std::string_view name_space, const std::string& version)
      : name_space_(name_space), version_(version) {}

  ObjectResult Make(const boost::json::object& object, const Decide& decide) {
    const Node before = ToNode(object);
    const std::vector<Operation> removals = Removals(before);
    std::string text;
    if (removals.empty()) {
      text = boost::json::serialize(object);
    } else {
      Write(Apply(before, removals), text);
    }
    const Node stripped = removals.empty() ? before : Apply(before, removals);
    const std::vector<Operation> additions = Additions(stripped, Fingerprint(text), decide);
    const bool again =
        !removals.empty() && std::ranges::all_of(result_.outcomes, [](const auto& o) {
          return o.kind == Outcome::Kind::kInjected;
        });
    if (again && Covers(before, Apply(stripped, additions))) {
      for (Outcome& outcome : result_.outcomes) outcome.kind = Outcome::Kind::kUnchanged;
      return std::move(result_);
    }
    result_.patch = ToJsonPatch(removals);
    const boost::json::array added = ToJsonPatch(additions);
    result_.patch.insert(result_.patch.end(), added.begin(), added.end());
    return std::move(result_);
  }

 private:
  static std::vector<Operation> Removals(const Node& root) {
    const yaml::Reader reader(root);
    std::vector<Operation> out;
    for (const Workload& workload : FindWorkloads(root, reader)) {
      const Node* const node = StatusOf(workload, reader);
      const auto status = node == nullptr ? std::nullopt : ReadStatus(node->value);
      if (!status) continue;
      try {
        std::ranges::move(PlanRemovals(root, reader, workload.pod, *status),
                          std::back_inserter(out));
      } catch (const Refusal&) {
        // The status stays, and is refused below.
      }
    }
    return out;
  }

  std::vector<Operation> Additions(const Node& root, const std::string& original,
                                   const Decide& decide) {
    const yaml::Reader reader(root);
    std::vector<Operation> out;
    for (Workload& workload : FindWorkloads(root, reader)) {
      if (workload.name_space.empty()) workload.name_space = name_space_;
      Outcome outcome{.kind = Outcome::Kind::kRefused,
                      .title = workload.Title(),
                      .name_space = workload.name_space};
      try {
        Add(workload, reader, root, original, decide, outcome, out);
      } catch (const Refusal& refusal) {
        outcome.reason = refusal.what();
      }
      result_.outcomes.push_back(std::move(outcome));
    }
    return out;
  }

  void Add(const Workload& workload, const yaml::Reader& reader, const Node& root,
           const std::string& original, const Decide& decide, Outcome& outcome,
           std::vector<Operation>& out) const {
    if (StatusOf(workload, reader) != nullptr) {
      throw Refusal(0, "what " + std::string(kStatusAnnotation) +
                           " says was put in before cannot be taken out");
    }
    Decision decision = decide(workload, reader);
    outcome.warnings = std::move(decision.warnings);
    if (decision.kind != Decision::Kind::kInject) {
      if (decision.kind == Decision::Kind::kSkip) outcome.kind = Outcome::Kind::kSkipped;
      outcome.reason = std::move(decision.reason);
      return;
    }
    Plan plan = PlanAdditions({}, root, reader, workload.pod, decision.additions,
                              {.version = version_, .original = original});
    std::ranges::move(plan.operations, std::back_inserter(out));
    std::ranges::move(plan.warnings, std::back_inserter(outcome.warnings));
    outcome.kind = Outcome::Kind::kInjected;
  }

  std::string_view name_space_;
  const std::string& version_;
  ObjectResult result_;
};

}  // namespace

ObjectResult InjectObject(const boost::json::object& object, std::string_view name_space,
                          const std::string& version, const Decide& decide) {
  return Injection(name_space, version).Make(object, decide);
}

}  // namespace sluice::inject
