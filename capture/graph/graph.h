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

// The rules of a Model as a picture: chains are boxes, jumps are arrows. Pure.
//
// Names of chains and texts of rules come from whoever wrote them. What a Graph holds of them is
// valid UTF-8 without control characters, and of a bounded length (see Visible); each format
// escapes what is special in it.
namespace sluice::capture::graph {

// A rule, or "... and 12 more".
struct Line {
  std::size_t rule = 0;   // from 1; 0 for what is no rule
  std::string text = {};  // the whole rule
  // Of a rule that leads to other chains: what it asks for; "all" when nothing.
  std::string condition = {};
  std::optional<std::uint64_t> packets = {};  // of an installed rule with a counter
  bool foreign = false;                       // not ours, in a chain that has rules of ours as well
  bool leaves = false;                        // a goto: does not come back
  std::vector<std::size_t> leads_to = {};     // nodes of the panel, each once
};

struct Node {
  enum class Kind : std::uint8_t {
    kBase,    // where the kernel comes in, with rules of ours
    kOurs,    // a chain of ours
    kForeign  // a chain without a rule of ours
  };
  Kind kind = Kind::kForeign;
  std::string title;        // "nat ISTIO_OUTPUT"
  std::string detail = {};  // of a base chain: "hook OUTPUT, priority -100"; or empty
  std::vector<Line> lines = {};
  bool base = false;
};

// One family's chains: base chains first, in the order in which packets meet them (by hook, then by
// priority), then what they lead to, nearest first.
struct Panel {
  Family family = Family::kIpv4;
  std::vector<Node> nodes = {};
  std::vector<std::string> notes = {};  // what was left out
};

struct Graph {
  std::vector<Panel> panels;       // without families that have nothing to show
  std::vector<std::string> notes;  // what could not be looked at
};

// Bounds, so that a node with ten thousand chains of kube-proxy gives a picture, too. What is left
// out is said in the picture.
inline constexpr std::size_t kMostChains = 120;  // of a panel
inline constexpr std::size_t kMostLines = 40;    // of a chain
inline constexpr std::size_t kMostText = 160;    // characters of a rule

// Base chains that have nothing to say, and chains of others that nothing leads to, are left out.
// The model is finished (explain::Finish).
Graph Draw(const explain::Model& model);

// Control characters, invalid UTF-8 and what turns the direction of writing become \xNN; what is
// longer than `most` characters ends in "...".
std::string Visible(std::string_view text, std::size_t most = kMostText);

// Mermaid's flowchart, for Markdown. Jumps are arrows with the number of the rule, its condition
// and packets; other rules stand in the boxes.
std::string ToMermaid(const Graph& graph);
// The same for Graphviz.
std::string ToDot(const Graph& graph);
// Drawn here, without any other program: all rules stand in the boxes, and the arrow of a jump
// begins at its rule.
std::string ToSvg(const Graph& graph);

}  // namespace sluice::capture::graph
