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

// Where in a document a value is: keys, and positions in sequences, as in a JSON Pointer (RFC
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

// One step of what is to be done to a document. Steps of one list are for different places, so that
// they may be carried out in any order.
struct Operation {
  enum class Kind {
    kAddMembers,     // to the mapping `parent`, from position `index` on
    kInsertItems,    // into the sequence `parent`, from position `index` on
    kFill,           // the member of `parent` that members[0] names has the value null; it gets one
    kRemoveMembers,  // those that `members` names
    kRemoveItems,    // those of `indices`, which ascend
    kClear,          // the member of `parent` that members[0] names becomes null, written `text`
  };
  Kind kind = Kind::kAddMembers;
  Path parent = {};
  std::size_t index = 0;
  std::vector<std::pair<std::string, boost::json::value>> members = {};
  boost::json::array items = {};
  std::vector<std::size_t> indices = {};
  std::string text = {};
};

// A value of a document, and how it is reached.
struct Spot {
  const yaml::Node* node = nullptr;
  const yaml::Member* member = nullptr;  // whose value it is; nullptr for an item and for the root
  bool in_flow = false;                  // whether that member is one of a mapping in flow style
};

// The value at `path`; node is nullptr when the last key is missing. Throws Refusal when the way
// leads through an alias, a merge key or a value that is used elsewhere too, where a change would
// change more than was asked for.
Spot Locate(const yaml::Node& root, const yaml::Reader& reader, const Path& path);

// Whether members put in at the top of a mapping in block style come before its first one: not when
// that stands on the line of a dash or begins the document.
bool HasTop(const Spot& mapping);

// `value` as a document that was never text: without positions, in flow style.
yaml::Node ToNode(const boost::json::value& value);

// What the operations make of `root`; positions are of no use afterwards.
yaml::Node Apply(yaml::Node root, const std::vector<Operation>& operations);

// The same as a JSON Patch (RFC 6902).
boost::json::array ToJsonPatch(const std::vector<Operation>& operations);

// The same as text: `text` with `operations` carried out on the document of `root`, which was
// parsed from it. Throws Refusal when a place is not as it has to be.
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
