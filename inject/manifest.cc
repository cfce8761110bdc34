// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/manifest.h"

#include <algorithm>
#include <iterator>

#include "inject/edit/operation.h"
#include "inject/edit/status.h"

namespace sluice::inject {
namespace {

using yaml::Document;
using yaml::Node;

std::string_view TextOf(std::string_view text, const Document& document) {
  return text.substr(document.begin, document.end - document.begin);
}

Outcome OutcomeOf(const Workload& workload, Outcome::Kind kind) {
  return {.kind = kind,
          .line = workload.line,
          .title = workload.Title(),
          .name_space = workload.name_space};
}

// The operations on one document, and the resulting edits of its text.
struct Change {
  std::vector<Operation> operations;
  std::vector<TextEdit> edits;
};

// Adds `operations` to `change`, but fails if editing the text does not give the same values as
// editing the document: then the text has a form that we did not foresee.
void Add(Change& change, std::string_view text, const std::string& name, const Node& root,
         const yaml::Reader& reader, std::size_t document, std::vector<Operation> operations) {
  std::vector<TextEdit> edits = ToTextEdits(text, root, reader, operations);
  const std::string edited = ApplyEdits(text, edits);
  bool same = false;
  try {
    const auto documents = yaml::Parse(edited, name);
    same = document < documents.size() &&
           yaml::SameValue(Apply(root, operations), documents[document].root);
  } catch (const std::exception&) {
    same = false;
  }
  if (!same) throw Refusal(0, "the text cannot be edited without guessing");
  std::ranges::move(operations, std::back_inserter(change.operations));
  std::ranges::move(edits, std::back_inserter(change.edits));
}

// A text without earlier additions.
struct Stripped {
  std::string text;
  std::vector<Document> documents;           // of `text`
  std::vector<Change> changes;               // one for each document
  std::vector<Outcome> outcomes;             // of workloads with a status
  std::vector<std::vector<std::size_t>> of;  // their indices, for each document
};

Stripped Strip(std::string_view text, const std::string& name) {
  Stripped out;
  const auto documents = yaml::Parse(text, name);
  std::vector<TextEdit> edits;
  std::vector<std::vector<std::string>> originals(documents.size());
  out.changes.resize(documents.size());
  out.of.resize(documents.size());
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const yaml::Reader reader(documents[i].root);
    for (const Workload& workload : FindWorkloads(documents[i].root, reader)) {
      const Node* const node = StatusOf(workload, reader);
      if (node == nullptr) continue;
      Outcome outcome = OutcomeOf(workload, Outcome::Kind::kRefused);
      const auto status = ReadStatus(node->value);
      try {
        if (!status) {
          throw Refusal(node->line, "the annotation " + std::string(kStatusAnnotation) +
                                        " is not what was written into it");
        }
        Add(out.changes[i], text, name, documents[i].root, reader, i,
            PlanRemovals(documents[i].root, reader, workload.pod, *status));
        outcome.kind = Outcome::Kind::kEdited;
        originals[i].push_back(status->original);
      } catch (const Refusal& refusal) {
        if (refusal.line() != 0) outcome.line = refusal.line();
        outcome.reason = refusal.what();
        originals[i].emplace_back();
      }
      out.of[i].push_back(out.outcomes.size());
      out.outcomes.push_back(std::move(outcome));
    }
    std::ranges::copy(out.changes[i].edits, std::back_inserter(edits));
  }
  out.text = ApplyEdits(text, std::move(edits));
  out.documents = yaml::Parse(out.text, name);
  for (std::size_t i = 0; i < out.documents.size() && i < originals.size(); ++i) {
    const std::string now = Fingerprint(TextOf(out.text, out.documents[i]));
    for (std::size_t each = 0; each < originals[i].size(); ++each) {
      Outcome& outcome = out.outcomes[out.of[i][each]];
      if (outcome.kind == Outcome::Kind::kEdited && originals[i][each] == now) {
        outcome.kind = Outcome::Kind::kRestored;
      }
    }
  }
  return out;
}

void AddPatch(Result& result, std::size_t document, const Node& root,
              const std::vector<Operation>& removals, const std::vector<Operation>& additions) {
  boost::json::array patch = ToJsonPatch(removals);
  const boost::json::array added = ToJsonPatch(additions);
  patch.insert(patch.end(), added.begin(), added.end());
  result.patches.push_back({document, root.line, std::move(patch)});
}

}  // namespace

bool Result::refused() const {
  return std::ranges::any_of(
      outcomes, [](const Outcome& each) { return each.kind == Outcome::Kind::kRefused; });
}

Result Inject(std::string_view text, const std::string& name, const std::string& version,
              const Decide& decide) {
  const Stripped stripped = Strip(text, name);
  Result result;
  std::vector<TextEdit> edits;
  std::vector<Change> changes(stripped.documents.size());
  std::vector<std::vector<std::size_t>> injected(stripped.documents.size());
  for (std::size_t i = 0; i < stripped.documents.size(); ++i) {
    const Document& document = stripped.documents[i];
    const yaml::Reader reader(document.root);
    const std::string original = Fingerprint(TextOf(stripped.text, document));
    for (const Workload& workload : FindWorkloads(document.root, reader)) {
      Outcome outcome = OutcomeOf(workload, Outcome::Kind::kRefused);
      try {
        if (const Node* status = StatusOf(workload, reader)) {
          throw Refusal(status->line, "what " + std::string(kStatusAnnotation) +
                                          " says was put in before cannot be taken out");
        }
        Decision decision = decide(workload, reader);
        outcome.warnings = std::move(decision.warnings);
        if (decision.kind == Decision::Kind::kInject) {
          Plan plan = PlanAdditions(stripped.text, document.root, reader, workload.pod,
                                    decision.additions, {.version = version, .original = original});
          Add(changes[i], stripped.text, name, document.root, reader, i,
              std::move(plan.operations));
          std::ranges::move(plan.warnings, std::back_inserter(outcome.warnings));
          outcome.kind = Outcome::Kind::kInjected;
          injected[i].push_back(result.outcomes.size());
        } else {
          if (decision.kind == Decision::Kind::kSkip) outcome.kind = Outcome::Kind::kSkipped;
          outcome.reason = std::move(decision.reason);
          if (decision.line != 0) outcome.line = decision.line;
        }
      } catch (const Refusal& refusal) {
        if (refusal.line() != 0) outcome.line = refusal.line();
        outcome.reason = refusal.what();
      }
      result.outcomes.push_back(std::move(outcome));
    }
    std::ranges::copy(changes[i].edits, std::back_inserter(edits));
  }
  result.text = ApplyEdits(stripped.text, std::move(edits));

  const auto before = yaml::Parse(text, name);
  const auto after = yaml::Parse(result.text, name);
  for (std::size_t i = 0; i < before.size() && i < after.size(); ++i) {
    if (TextOf(text, before[i]) != TextOf(result.text, after[i])) {
      AddPatch(result, i, before[i].root, stripped.changes[i].operations, changes[i].operations);
    } else {
      for (const std::size_t each : injected[i]) {
        result.outcomes[each].kind = Outcome::Kind::kUnchanged;
      }
    }
  }
  return result;
}

Result Uninject(std::string_view text, const std::string& name) {
  Stripped stripped = Strip(text, name);
  Result result{.text = std::move(stripped.text), .outcomes = std::move(stripped.outcomes)};
  const auto documents = yaml::Parse(text, name);
  for (std::size_t i = 0; i < documents.size(); ++i) {
    if (!stripped.changes[i].operations.empty()) {
      AddPatch(result, i, documents[i].root, stripped.changes[i].operations, {});
    }
  }
  return result;
}

}  // namespace sluice::inject
