// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Operations as text edits at positions.
#include <algorithm>
#include <iterator>
#include <set>

#include "inject/edit/operation.h"
#include "inject/yaml/write.h"

namespace sluice::inject {
namespace {

using yaml::Layout;
using yaml::Member;
using yaml::Node;

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Empty, or a comment.
bool IsIdle(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string_view::npos || text[first] == '#';
}

class Editor {
 public:
  Editor(std::string_view text, const Node& root, const yaml::Reader& reader)
      : text_(text), root_(root), reader_(reader) {
    const auto first = text.find('\n');
    if (first != std::string_view::npos && first > 0 && text[first - 1] == '\r') line_end_ = "\r\n";
    for (auto at = text.find('\r'); at != std::string_view::npos; at = text.find('\r', at + 1)) {
      if (at + 1 < text.size() && text[at + 1] != '\n') {
        throw Refusal(0, "a line ends in CR without LF");
      }
    }
  }

  void Add(const Operation& operation) {
    const Spot spot = Locate(root_, reader_, operation.parent);
    if (spot.node == nullptr) throw Refusal(0, "there is nothing to edit");
    switch (operation.kind) {
      case Operation::Kind::kAddMembers:
        return AddMembers(spot, operation);
      case Operation::Kind::kInsertItems:
        return InsertItems(spot, operation);
      case Operation::Kind::kFill:
        return Fill(*spot.node, operation);
      case Operation::Kind::kRemoveMembers:
        return RemoveMembers(*spot.node, operation);
      case Operation::Kind::kRemoveItems:
        return RemoveItems(*spot.node, operation);
      case Operation::Kind::kClear:
        return Clear(*spot.node, operation);
    }
  }

  std::vector<TextEdit> Take() { return std::move(edits_); }

 private:
  // --- lines ---
  std::size_t LineStart(std::size_t at) const {
    if (at == 0) return 0;
    const auto found = text_.rfind('\n', at - 1);
    return found == std::string_view::npos ? 0 : found + 1;
  }
  // The start of the next line; the end of the text if there is none.
  std::size_t NextLine(std::size_t at) const {
    const auto found = text_.find('\n', at);
    return found == std::string_view::npos ? text_.size() : found + 1;
  }
  std::string_view Between(std::size_t begin, std::size_t end) const {
    return text_.substr(begin, end - begin);
  }
  bool EndsLine(std::size_t at) const { return at > 0 && text_[at - 1] == '\n'; }

  // Inserts whole lines before the line that begins at `at`, which may be the end of a text without
  // a final newline.
  void InsertLines(std::size_t at, std::string lines) {
    if (at == text_.size() && at > 0 && !EndsLine(at)) {
      lines.resize(lines.size() - line_end_.size());
      lines = std::string(line_end_) + lines;
    }
    edits_.push_back({at, at, std::move(lines)});
  }

  // Where the lines after a value begin.
  std::size_t Behind(const Node& value) const {
    const Node& last = yaml::LastLeaf(value);
    if (last.IsBlockScalar()) {
      if (!EndsLine(last.end)) {
        throw Refusal(last.line, "the text ends in a block without a line end; put one there");
      }
      return last.end;
    }
    const std::size_t next = NextLine(last.end);
    if (!IsIdle(Between(last.end, next))) {
      throw Refusal(last.line, "there is something after the value on its line");
    }
    return next;
  }

  // Where the lines of a collection in block style begin; `first` is its first entry. Right after
  // the key's line, so that comments stay with the entry below them.
  std::size_t Top(const Member& member, std::size_t first) const {
    const std::size_t begin = NextLine(member.key.end);
    const std::size_t line = LineStart(first);
    for (std::size_t at = begin; at < line; at = NextLine(at)) {
      if (!IsIdle(Between(at, NextLine(at)))) {
        throw Refusal(member.key.line,
                      "the value of " + member.key.value + " does not begin after its key");
      }
    }
    if (begin > line || !IsBlank(Between(line, first))) {
      throw Refusal(member.key.line, "there is something before the value of " + member.key.value);
    }
    return begin;
  }

  // The indentation of our lists: the same as for the containers.
  std::size_t SequenceIndent() {
    if (sequence_indent_ == std::string_view::npos) {
      sequence_indent_ = 0;
      FindSequence(root_);
    }
    return sequence_indent_;
  }
  // The column of a block sequence's first dash. A sequence with an anchor or a tag begins there.
  std::size_t DashColumn(const Node& sequence) const {
    if (text_[sequence.begin] == '-') return sequence.column;
    const std::size_t line = text_.rfind('\n', sequence.items.front().begin) + 1;
    const std::size_t dash = text_.find_first_not_of(' ', line);
    // The dash has its value on the next line, so the items do not tell. The key's column is
    // correct as well.
    return text_[dash] == '-' ? dash - line : 0;
  }
  bool FindSequence(const Node& node) {
    for (const Node& item : node.items) {
      if (FindSequence(item)) return true;
    }
    for (const Member& member : node.members) {
      const Node& value = member.value;
      if (member.key.value == "containers" && value.IsSequence() && !value.flow) {
        const std::size_t dash = DashColumn(value);
        sequence_indent_ = dash >= member.key.column ? dash - member.key.column : 0;
        return true;
      }
      if (FindSequence(value)) return true;
    }
    return false;
  }
  Layout LayoutAt(std::size_t column) {
    return {.line_end = line_end_, .indent = column, .sequence_indent = SequenceIndent()};
  }

  // --- adding ---
  static std::string FlowMembers(const Operation& operation) {
    std::string out;
    for (const auto& [key, value] : operation.members) {
      out += (out.empty() ? "" : ", ") + yaml::WriteFlow(boost::json::value(key)) + ": " +
             yaml::WriteFlow(value);
    }
    return out;
  }
  static std::string FlowItems(const Operation& operation) {
    std::string out;
    for (const auto& item : operation.items)
      out += (out.empty() ? "" : ", ") + yaml::WriteFlow(item);
    return out;
  }

  // After the opening bracket of a collection in flow style.
  std::size_t Opening(const Node& node) const {
    // It may have an anchor or a tag before it.
    const auto found = text_.find(node.IsMapping() ? '{' : '[', node.begin);
    if (found == std::string_view::npos || (found != node.begin && !node.tag.empty())) {
      throw Refusal(node.line, "there is a tag before the value");
    }
    return found + 1;
  }

  void AddMembers(const Spot& spot, const Operation& operation) {
    const Node& mapping = *spot.node;
    if (mapping.flow) {
      const std::size_t at = Opening(mapping);
      edits_.push_back({at, at, FlowMembers(operation) + (mapping.members.empty() ? "" : ", ")});
      return;
    }
    const Node& first = mapping.members.front().key;
    std::string lines;
    const Layout layout = LayoutAt(first.column);
    for (const auto& [key, value] : operation.members) {
      lines += yaml::WriteMember(key, value, layout);
    }
    InsertLines(HasTop(spot) ? Top(*spot.member, first.begin) : Behind(mapping.members[0].value),
                std::move(lines));
  }

  void InsertItems(const Spot& spot, const Operation& operation) {
    const Node& sequence = *spot.node;
    const bool last = operation.index != 0;
    if (sequence.flow) {
      const std::size_t at = last ? sequence.items.back().end : Opening(sequence);
      std::string text = FlowItems(operation);
      if (last) {
        text = ", " + text;
      } else if (!sequence.items.empty()) {
        text += ", ";
      }
      edits_.push_back({at, at, std::move(text)});
      return;
    }
    if (spot.member == nullptr || text_[sequence.begin] != '-') {
      throw Refusal(sequence.line, "the list has an anchor or a tag");
    }
    std::string lines;
    const Layout layout = LayoutAt(sequence.column);
    for (const auto& item : operation.items) lines += yaml::WriteItem(item, layout);
    InsertLines(last ? Behind(sequence.items.back()) : Top(*spot.member, sequence.begin),
                std::move(lines));
  }

  void Fill(const Node& mapping, const Operation& operation) {
    const auto& [key, value] = operation.members.at(0);
    const Member& member = *yaml::FindMember(mapping, key);
    if (!member.value.anchor.empty() || !member.value.tag.empty()) {
      throw Refusal(member.value.line, "the null of " + key + " has an anchor or a tag");
    }
    if (Between(member.key.end, member.value.begin).find(':') == std::string_view::npos) {
      throw Refusal(member.key.line, key + " has no colon");
    }
    if (member.value.begin != member.value.end) {
      edits_.push_back({member.value.begin, member.value.end, yaml::WriteFlow(value)});
    } else if (mapping.flow) {
      edits_.push_back({member.value.end, member.value.end, " " + yaml::WriteFlow(value)});
    } else {
      std::string lines = yaml::WriteMember(key, value, LayoutAt(member.key.column));
      lines.erase(0, lines.find('\n') + 1);  // the key exists
      InsertLines(Behind(member.value), std::move(lines));
    }
  }

  // --- removing ---
  // The whole lines of an entry that begins at `begin`.
  void RemoveLines(std::size_t begin, const Node& value) {
    std::size_t from = LineStart(begin);
    const std::size_t to = Behind(value);
    const std::string_view before = Between(from, begin);
    if (before.find_first_not_of(" -") != std::string_view::npos ||
        std::ranges::count(before, '-') > 1) {
      throw Refusal(value.line, "there is something before the text to be removed");
    }
    if (to == text_.size() && !EndsLine(to) && from > 0) {
      from -= from > 1 && text_[from - 2] == '\r' ? 2 : 1;
    }
    edits_.push_back({from, to, ""});
  }

  // One entry in a flow style collection.
  struct Range {
    std::size_t begin;
    std::size_t end;
  };

  // Removes runs of entries with the commas that were added with them.
  void RemoveFlow(const std::vector<Range>& entries, const std::vector<bool>& ours) {
    for (std::size_t i = 0; i < entries.size();) {
      if (!ours[i]) {
        ++i;
        continue;
      }
      std::size_t end = i;
      while (end < entries.size() && ours[end]) ++end;
      std::size_t from = entries[i].begin;
      std::size_t to = entries[end - 1].end;
      if (end < entries.size()) {
        to = text_.find(',', to) + 1;
        if (to < text_.size() && text_[to] == ' ' && to < entries[end].begin) ++to;
      } else if (i > 0) {
        from = entries[i - 1].end;
      }
      edits_.push_back({from, to, ""});
      i = end;
    }
  }

  void RemoveMembers(const Node& mapping, const Operation& operation) {
    std::set<const Member*> gone;
    for (const auto& [key, value] : operation.members) {
      if (const Member* member = yaml::FindMember(mapping, key)) gone.insert(member);
    }
    std::vector<Range> entries;
    std::vector<bool> ours;
    for (const Member& member : mapping.members) {
      const bool is_gone = gone.contains(&member);
      if (is_gone && !mapping.flow) RemoveLines(member.key.begin, member.value);
      entries.push_back({member.key.begin, member.value.end});
      ours.push_back(is_gone);
    }
    if (mapping.flow) RemoveFlow(entries, ours);
  }

  void RemoveItems(const Node& sequence, const Operation& operation) {
    std::vector<Range> entries;
    std::vector<bool> ours;
    for (std::size_t i = 0; i < sequence.items.size(); ++i) {
      const Node& item = sequence.items[i];
      const bool gone = std::ranges::find(operation.indices, i) != operation.indices.end();
      if (gone && !sequence.flow) RemoveLines(item.begin, item);
      entries.push_back({item.begin, item.end});
      ours.push_back(gone);
    }
    if (sequence.flow) RemoveFlow(entries, ours);
  }

  void Clear(const Node& mapping, const Operation& operation) {
    const Member& member = *yaml::FindMember(mapping, operation.members.at(0).first);
    const Node& value = member.value;
    const bool in_line = value.flow || value.IsScalar();
    if (!in_line) {
      if (!operation.text.empty()) {
        throw Refusal(value.line, "the value is not written as it was put in");
      }
      std::size_t from = NextLine(member.key.end);
      const std::size_t to = Behind(value);
      if (to == text_.size() && !EndsLine(to)) {
        from -= from > 1 && text_[from - 2] == '\r' ? 2 : 1;
      }
      edits_.push_back({from, to, ""});
      return;
    }
    const std::size_t space = operation.text.empty() && text_[value.begin - 1] == ' ' ? 1 : 0;
    edits_.push_back({value.begin - space, value.end, operation.text});
  }

  std::string_view text_;
  const Node& root_;
  const yaml::Reader& reader_;
  std::string_view line_end_ = "\n";
  std::size_t sequence_indent_ = std::string_view::npos;
  std::vector<TextEdit> edits_;
};

}  // namespace

std::vector<TextEdit> ToTextEdits(std::string_view text, const Node& root,
                                  const yaml::Reader& reader,
                                  const std::vector<Operation>& operations) {
  Editor editor(text, root, reader);
  for (const Operation& operation : operations) editor.Add(operation);
  return editor.Take();
}

}  // namespace sluice::inject
