// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::inject::yaml {

enum class Kind { kScalar, kMapping, kSequence, kAlias };

// How a scalar is written. What is quoted, or a block, is a string whatever it says.
enum class Style { kPlain, kSingleQuoted, kDoubleQuoted, kLiteral, kFolded };

// `key: value` of a mapping.
struct Member;

// A value and where it is written. Positions are bytes from the begin of the text, its byte order
// mark included; lines are counted from 1.
struct Node {
  Kind kind = Kind::kScalar;
  // Of the value with its anchor and tag. The end of a collection in block style is behind the
  // comments that follow it: LastByte() says where its last value ends.
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t line = 0;
  std::size_t column = 0;  // of `begin`, in characters, from 0
  Style style = Style::kPlain;
  bool flow = false;            // a collection in flow style: {a: b}, [a]
  std::string value;            // of a scalar; of an alias the anchor that it names
  std::string anchor;           // "" for none
  std::string tag;              // as resolved by the parser; "" when none is written
  std::vector<Member> members;  // of a mapping, in their order
  std::vector<Node> items;      // of a sequence

  bool IsScalar() const { return kind == Kind::kScalar; }
  bool IsMapping() const { return kind == Kind::kMapping; }
  bool IsSequence() const { return kind == Kind::kSequence; }
  bool IsAlias() const { return kind == Kind::kAlias; }
  bool IsBlockScalar() const {
    return IsScalar() && (style == Style::kLiteral || style == Style::kFolded);
  }
};

struct Member {
  Node key;
  Node value;
};

// One document of a stream. The ranges of all documents, put together, are the whole text: what
// stands before the first, comments between and markers belong to one of them.
struct Document {
  std::size_t begin = 0;
  std::size_t end = 0;
  Node root;  // a scalar without a value for an empty document
};

// How deep values may be nested: Kubernetes' own objects stay below 30, and the parser's time grows
// with the square of it.
inline constexpr std::size_t kMaxDepth = 100;

// The documents of `text`, which is UTF-8. Throws Error(kFailed) with the line and what is wrong
// there; `name` is what to call the text.
std::vector<Document> Parse(std::string_view text, const std::string& name);

// One past the last byte of the value: of a collection in block style, of the last value in it. For
// a scalar in block style that is the begin of the line after it.
std::size_t LastByte(const Node& node);

// The last leaf of a value: the node at whose end LastByte() is.
const Node& LastLeaf(const Node& node);

// The same values in the same order, wherever and in whatever style they are written. What is plain
// in one must be plain in the other, because `yes` and "yes" are not the same value.
bool SameValue(const Node& a, const Node& b);

// What a plain scalar is, by the rules of YAML 1.1 that kubectl goes by.
bool IsNull(const Node& node);
enum class Truth { kNo, kYes, kNeither };
Truth AsBool(const Node& node);
// A scalar that is a string: quoted, or plain and neither null, a boolean nor a number.
bool IsString(const Node& node);

// The last member of that name, as kubectl has it; nullptr when there is none. Does not look
// through aliases and merge keys: Reader does.
const Member* FindMember(const Node& mapping, std::string_view key);

// Looks through aliases and merge keys of one document.
class Reader {
 public:
  explicit Reader(const Node& root);

  // What `node` stands for: the anchored value of an alias; itself otherwise. nullptr when there is
  // none.
  const Node* Resolve(const Node* node) const;
  // The value of `key`, its own or merged into; nullptr when there is none or `node` is no mapping.
  const Node* Get(const Node* node, std::string_view key) const;
  // Whether an alias names the anchor of `node`, so that a change of it is one elsewhere.
  bool IsShared(const Node& node) const;

 private:
  const Node* Get(const Node* node, std::string_view key, std::size_t& steps) const;

  struct Anchor {
    const Node* node;
    bool used;
  };
  // By name, each in the order of the text: a name may be given anew.
  std::map<std::string, std::vector<Anchor>, std::less<>> anchors_;
};

}  // namespace sluice::inject::yaml
