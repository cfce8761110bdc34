// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <yaml.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "inject/yaml/node.h"

namespace sluice::inject::yaml {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

struct ParserEnd {
  void operator()(yaml_parser_t* parser) const { yaml_parser_delete(parser); }
};

// A libyaml event, which owns its data.
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { yaml_event_delete(&event_); }
  yaml_event_t* get() { return &event_; }
  const yaml_event_t& operator*() const { return event_; }
  const yaml_event_t* operator->() const { return &event_; }

 private:
  yaml_event_t event_{};
};

std::string Text(const yaml_char_t* text) {
  return text == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(text));
}

Style StyleOf(yaml_scalar_style_t style) {
  switch (style) {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
      return Style::kSingleQuoted;
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
      return Style::kDoubleQuoted;
    case YAML_LITERAL_SCALAR_STYLE:
      return Style::kLiteral;
    case YAML_FOLDED_SCALAR_STYLE:
      return Style::kFolded;
    default:
      return Style::kPlain;
  }
}

class Builder {
 public:
  Builder(std::string_view text, const std::string& name) : text_(text), name_(name) {
    if (text.find('\0') != std::string_view::npos) Fail(0, "it has a NUL byte", "");
    if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
      Fail(1, "it is UTF-16", "convert it to UTF-8");
    }
    if (yaml_parser_initialize(&storage_) == 0) throw std::bad_alloc();
    parser_.reset(&storage_);
    yaml_parser_set_encoding(parser_.get(), YAML_UTF8_ENCODING);
    // Whether the parser skips the mark depends on the encoding that it detects.
    if (text.starts_with(kByteOrderMark)) start_ = kByteOrderMark.size();
    next_byte_ = start_;
    const std::string_view rest = text.substr(start_);
    yaml_parser_set_input_string(parser_.get(), reinterpret_cast<const unsigned char*>(rest.data()),
                                 rest.size());
  }

  std::vector<Document> Build() {
    std::vector<Document> documents;
    for (bool done = false; !done;) {
      Event event;
      Next(event);
      switch (event->type) {
        case YAML_STREAM_END_EVENT:
          done = true;
          break;
        case YAML_DOCUMENT_START_EVENT: {
          Document& document = documents.emplace_back();
          document.begin = documents.size() == 1 ? 0 : Byte(event->start_mark);
          break;
        }
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
          break;
        default:
          documents.back().root = Value(event, 0);
      }
    }
    for (std::size_t i = 0; i < documents.size(); ++i) {
      documents[i].end = i + 1 < documents.size() ? documents[i + 1].begin : text_.size();
    }
    return documents;
  }

 private:
  [[noreturn]] void Fail(std::size_t line, std::string why, std::string help) const {
    std::string place = name_;
    if (line != 0) place += ":" + std::to_string(line);
    throw Error(ErrorKind::kFailed, {.doing = "read YAML",
                                     .target = std::move(place),
                                     .why = std::move(why),
                                     .help = std::move(help)});
  }

  std::string TemplateHelp() const {
    const bool is_template = text_.find("{{") != std::string_view::npos;
    return is_template ? "it looks like a template: render it first (helm template)" : "";
  }

  void Next(Event& event) {
    if (yaml_parser_parse(parser_.get(), event.get()) != 0) return;
    const yaml_parser_t& parser = *parser_;
    if (parser.error == YAML_MEMORY_ERROR) throw std::bad_alloc();
    std::string why = parser.problem == nullptr ? "it is no YAML" : parser.problem;
    std::size_t line = parser.problem_mark.line + 1;
    if (parser.error == YAML_READER_ERROR) {
      const std::size_t at = std::min(start_ + parser.problem_offset, text_.size());
      line = 1 + static_cast<std::size_t>(std::ranges::count(text_.substr(0, at), '\n'));
    } else if (parser.context != nullptr) {
      why += std::string(" ") + parser.context;
    }
    const bool is_template = text_.find("{{") != std::string_view::npos;
    Fail(line, why, is_template ? "it looks like a template: render it first (helm template)" : "");
  }

  // Marks count characters. They are requested in order, except for a few steps back.
  std::size_t Byte(const yaml_mark_t& mark) {
    if (mark.index < next_character_) {
      next_character_ = 0;
      next_byte_ = start_;
      // Starting over is rare; requests are close to the last position.
      if (last_character_ <= mark.index) {
        next_character_ = last_character_;
        next_byte_ = last_byte_;
      }
    }
    while (next_character_ < mark.index && next_byte_ < text_.size()) {
      ++next_byte_;
      while (next_byte_ < text_.size() &&
             (static_cast<unsigned char>(text_[next_byte_]) & 0xC0) == 0x80) {
        ++next_byte_;
      }
      ++next_character_;
    }
    return next_byte_;
  }

  void Place(Node& node, const yaml_event_t& event) {
    node.begin = Byte(event.start_mark);
    last_character_ = next_character_;
    last_byte_ = next_byte_;
    node.end = Byte(event.end_mark);
    node.line = event.start_mark.line + 1;
    node.column = event.start_mark.column;
  }

  Node Value(const Event& event, std::size_t depth) {
    if (depth > kMaxDepth) {
      Fail(event->start_mark.line + 1,
           "values are nested more than " + std::to_string(kMaxDepth) + " deep", "");
    }
    Node node;
    Place(node, *event);
    switch (event->type) {
      case YAML_ALIAS_EVENT:
        node.kind = Kind::kAlias;
        node.value = Text(event->data.alias.anchor);
        return node;
      case YAML_SCALAR_EVENT: {
        const auto& scalar = event->data.scalar;
        node.style = StyleOf(scalar.style);
        node.value.assign(reinterpret_cast<const char*>(scalar.value), scalar.length);
        node.anchor = Text(scalar.anchor);
        node.tag = Text(scalar.tag);
        return node;
      }
      case YAML_SEQUENCE_START_EVENT: {
        const auto& start = event->data.sequence_start;
        node.kind = Kind::kSequence;
        node.flow = start.style == YAML_FLOW_SEQUENCE_STYLE;
        node.anchor = Text(start.anchor);
        node.tag = Text(start.tag);
        for (;;) {
          Event next;
          Next(next);
          if (next->type == YAML_SEQUENCE_END_EVENT) {
            node.end = Byte(next->end_mark);
            return node;
          }
          node.items.push_back(Value(next, depth + 1));
        }
      }
      default: {
        const auto& start = event->data.mapping_start;
        node.kind = Kind::kMapping;
        node.flow = start.style == YAML_FLOW_MAPPING_STYLE;
        node.anchor = Text(start.anchor);
        node.tag = Text(start.tag);
        for (;;) {
          Event next;
          Next(next);
          if (next->type == YAML_MAPPING_END_EVENT) {
            node.end = Byte(next->end_mark);
            return node;
          }
          Node key = Value(next, depth + 1);
          // {{ a }} is a mapping with a mapping as key. Kubernetes does not use that.
          if (key.IsMapping() || key.IsSequence()) {
            Fail(key.line, "a key is a collection", TemplateHelp());
          }
          Event after;
          Next(after);
          node.members.push_back({std::move(key), Value(after, depth + 1)});
        }
      }
    }
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t start_ = 0;
  yaml_parser_t storage_{};
  std::unique_ptr<yaml_parser_t, ParserEnd> parser_;
  std::size_t next_character_ = 0;
  std::size_t next_byte_ = 0;
  std::size_t last_character_ = 0;
  std::size_t last_byte_ = 0;
};

}  // namespace

std::vector<Document> Parse(std::string_view text, const std::string& name) {
  return Builder(text, name).Build();
}

}  // namespace sluice::inject::yaml
