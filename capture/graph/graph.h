// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "capture/explain/model.h"

// The rules of a Model as a picture: boxes are chains, arrows are jumps. Pure.
//
// Other programs chose the names of chains and the texts of rules. In a Graph they are valid UTF-8
// without control characters, and of bounded length (see Visible); each format escapes its own
// special characters.
namespace sluice::capture::graph {

// A rule, or "... and 12 more".
struct Line {
  std::size_t rule = 0;   // from 1; 0 if not a rule
  std::string text = {};  // the whole rule
  // Of a rule that leads to other chains: its condition; "all" when it has none.
  std::string condition = {};
  std::optional<std::uint64_t> packets = {};  // of an installed rule with a counter
  bool foreign = false;                       // not Sluice's, in a chain that also has Sluice rules
  bool leaves = false;                        // a goto: does not return
  std::vector<std::size_t> leads_to = {};     // nodes of the panel, each once
};

struct Node {
  enum class Kind : std::uint8_t {
    kBase,    // a base chain with Sluice rules
    kOurs,    // a Sluice chain
    kForeign  // a chain without Sluice rules
  };
  Kind kind = Kind::kForeign;
  std::string title;        // "nat ISTIO_OUTPUT"
  std::string detail = {};  // of a base chain: "hook OUTPUT, priority -100"; or empty
  std::vector<Line> lines = {};
  bool base = false;
};

// One family's chains: base chains first, in the order in which packets meet them (by hook, then by
// priority), then the chains they lead to, nearest first.
struct Panel {
  Family family = Family::kIpv4;
  std::vector<Node> nodes = {};
  std::vector<std::string> notes = {};  // what was left out
};

struct Graph {
  std::vector<Panel> panels;       // without families that have nothing to show
  std::vector<std::string> notes;  // what could not be read
};

// Limits, so that a node with ten thousand kube-proxy chains still gives a picture. The picture
// says what was left out.
inline constexpr std::size_t kMostChains = 120;  // in a panel
inline constexpr std::size_t kMostLines = 40;    // in a chain
inline constexpr std::size_t kMostText = 160;    // characters of a rule

// Leaves out base chains with nothing to show, and foreign chains that nothing leads to. The model
// must be finished (explain::Finish).
Graph Draw(const explain::Model& model);

// Control characters, invalid UTF-8 and characters that change the writing direction become \xNN;
// text longer than `most` characters is cut and ends in "...".
std::string Visible(std::string_view text, std::size_t most = kMostText);

// A Mermaid flowchart, for Markdown. Jumps are arrows with the rule's number, its condition and
// packets; other rules are in the boxes.
std::string ToMermaid(const Graph& graph);
// The same for Graphviz.
std::string ToDot(const Graph& graph);
// Drawn here, without another program: all rules are in the boxes, and the arrow of a jump starts
// at its rule.
std::string ToSvg(const Graph& graph);

}  // namespace sluice::capture::graph
