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

// How a scalar is written. Quoted and block scalars are always strings.
enum class Style { kPlain, kSingleQuoted, kDoubleQuoted, kLiteral, kFolded };

// `key: value` in a mapping.
struct Member;

// A value and its place in the text. Positions are bytes from the start of the text, including its
// byte order mark; lines count from 1.
struct Node {
  Kind kind = Kind::kScalar;
  // The range of the value with its anchor and tag. The end of a block collection is after the
  // comments that follow it: LastByte() tells where its last value ends.
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t line = 0;
  std::size_t column = 0;  // of `begin`, in characters, from 0
  Style style = Style::kPlain;
  bool flow = false;            // a collection in flow style: {a: b}, [a]
  std::string value;            // of a scalar; for an alias, the anchor's name
  std::string anchor;           // "" for none
  std::string tag;              // as resolved by the parser; "" if none is written
  std::vector<Member> members;  // of a mapping, in order
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

// One document of a stream. The ranges of all documents together are the whole text: text before
// the first, comments between them and markers each belong to one.
struct Document {
  std::size_t begin = 0;
  std::size_t end = 0;
  Node root;  // a scalar without a value if the document is empty
};

// The maximum nesting: Kubernetes' own objects stay below 30, and the parser's time grows with its
// square.
inline constexpr std::size_t kMaxDepth = 100;

// Parses `text`, which is UTF-8. Throws Error(kFailed) with the line and what is wrong; messages
// call the text `name`.
std::vector<Document> Parse(std::string_view text, const std::string& name);

// One past the last byte of the value; for a block collection, of its last value. For a block
// scalar it is the start of the next line.
std::size_t LastByte(const Node& node);

// The last leaf of a value: LastByte() is its end.
const Node& LastLeaf(const Node& node);

// The same values in the same order, regardless of position and style. A plain scalar only equals a
// plain one, because `yes` and "yes" are different values.
bool SameValue(const Node& a, const Node& b);

// The type of a plain scalar, by the rules of YAML 1.1 as in kubectl.
bool IsNull(const Node& node);
enum class Truth { kNo, kYes, kNeither };
Truth AsBool(const Node& node);
// A string scalar: quoted, or plain and not null, a boolean or a number.
bool IsString(const Node& node);

// The last member of that name, as in kubectl; nullptr if there is none. Does not resolve aliases
// and merge keys: Reader does.
const Member* FindMember(const Node& mapping, std::string_view key);

// Resolves the aliases and merge keys of one document.
class Reader {
 public:
  explicit Reader(const Node& root);

  // The value of `node`: for an alias its anchor's value; otherwise `node`. nullptr if there is
  // none.
  const Node* Resolve(const Node* node) const;
  // The value of `key`, own or merged; nullptr if there is none or `node` is not a mapping.
  const Node* Get(const Node* node, std::string_view key) const;
  // Whether an alias refers to `node`, so that changing it has effects elsewhere.
  bool IsShared(const Node& node) const;

 private:
  const Node* Get(const Node* node, std::string_view key, std::size_t& steps) const;

  struct Anchor {
    const Node* node;
    bool used;
  };
  // By name, in the order of the text: a name may be reused.
  std::map<std::string, std::vector<Anchor>, std::less<>> anchors_;
};

}  // namespace sluice::inject::yaml
