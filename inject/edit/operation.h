// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "inject/yaml/node.h"

namespace sluice::inject {

// The path of a value in a document: keys and sequence positions, as in a JSON Pointer (RFC
// 6901).
using Path = std::vector<std::string>;

Path operator/(Path path, std::string_view key);

// A document that cannot be edited without guessing; what() says why.
class Refusal : public std::runtime_error {
 public:
  Refusal(std::size_t line, const std::string& why) : std::runtime_error(why), line_(line) {}
  std::size_t line() const { return line_; }

 private:
  std::size_t line_;
};

// One edit of a document. The edits of a list are for different places, so their order does not
// matter.
struct Operation {
  enum class Kind {
    kAddMembers,     // to the mapping `parent`, from position `index`
    kInsertItems,    // into the sequence `parent`, from position `index`
    kFill,           // replaces the null value of the member of `parent` named by members[0]
    kRemoveMembers,  // those named in `members`
    kRemoveItems,    // those in `indices`, which ascend
    kClear,          // sets the member of `parent` named by members[0] to null, written `text`
  };
  Kind kind = Kind::kAddMembers;
  Path parent = {};
  std::size_t index = 0;
  std::vector<std::pair<std::string, boost::json::value>> members = {};
  boost::json::array items = {};
  std::vector<std::size_t> indices = {};
  std::string text = {};
};

// A value of a document, and its place.
struct Spot {
  const yaml::Node* node = nullptr;
  const yaml::Member* member = nullptr;  // the value's member; nullptr for an item and the root
  bool in_flow = false;                  // whether that member is in a mapping in flow style
};

// The value at `path`; node is nullptr if the last key is missing. Throws Refusal if the path leads
// through an alias, a merge key or a value that is used elsewhere too: an edit there would change
// more than intended.
Spot Locate(const yaml::Node& root, const yaml::Reader& reader, const Path& path);

// Whether members can be inserted before the first one of a mapping in block style: not if that
// follows a dash on its line, or begins the document.
bool HasTop(const Spot& mapping);

// `value` as a document without text: no positions, flow style.
yaml::Node ToNode(const boost::json::value& value);

// Applies the operations to `root`; its positions are invalid afterwards.
yaml::Node Apply(yaml::Node root, const std::vector<Operation>& operations);

// The same as a JSON Patch (RFC 6902).
boost::json::array ToJsonPatch(const std::vector<Operation>& operations);

// The same for the text: applies `operations` to `text`, from which `root` was parsed. Throws
// Refusal if a place does not have the required form.
struct TextEdit {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::string text;
};
std::vector<TextEdit> ToTextEdits(std::string_view text, const yaml::Node& root,
                                  const yaml::Reader& reader,
                                  const std::vector<Operation>& operations);
std::string ApplyEdits(std::string_view text, std::vector<TextEdit> edits);

}  // namespace sluice::inject
