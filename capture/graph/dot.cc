// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/graph/graph.h"
#include "capture/graph/lines.h"

namespace sluice::capture::graph {
namespace {

// In a double-quoted label a backslash begins an escape, and HTML entities are decoded.
std::string DotText(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
      case '<':
      case '>':
      case '"':
      case '\\':
        out += "&#" + std::to_string(static_cast<int>(c)) + ";";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// \l ends a left-aligned line.
std::string DotLine(const Line& line, const std::string& text, std::size_t columns) {
  const std::string number = line.rule == 0 ? "" : std::to_string(line.rule) + "  ";
  std::string out;
  for (const std::string& part : Broken(text, columns)) {
    out += (out.empty() ? number : "\\l" + std::string(number.size(), ' ')) + DotText(part);
  }
  if (line.packets) out += "  (" + std::to_string(*line.packets) + ")";
  return out + "\\l";
}

const char* ColoursOf(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kOurs:
      return "fillcolor=\"#dbeafe\", color=\"#1d4ed8\"";
    case Node::Kind::kBase:
      return "fillcolor=\"#ffffff\", color=\"#1f2937\"";
    case Node::Kind::kForeign:
      break;
  }
  return "fillcolor=\"#e5e7eb\", color=\"#9ca3af\", fontcolor=\"#374151\"";
}

std::string DotLabel(const Node& node) {
  std::string out = DotText(node.title) + "\\l";
  if (!node.detail.empty()) out += DotText(node.detail) + "\\l";
  for (const Line& line : node.lines) {
    if (line.leads_to.empty()) out += DotLine(line, line.text, kRuleColumns);
  }
  return out;
}

}  // namespace

std::string ToDot(const Graph& graph) {
  std::string out =
      "digraph sluice {\n"
      "  rankdir=LR;\n"
      "  fontname=\"sans-serif\";\n"
      "  node [shape=box, style=filled, fontname=\"monospace\", fontsize=10];\n"
      "  edge [fontname=\"monospace\", fontsize=9];\n";
  const auto note = [&out](const std::string& name, const std::string& text) {
    out += "  " + name + " [shape=note, label=\"" + DotText(text) + "\\l\"];\n";
  };
  for (std::size_t p = 0; p < graph.panels.size(); ++p) {
    const Panel& panel = graph.panels[p];
    const std::string family(Name(panel.family));
    out += "  subgraph cluster_" + NodeName(p, 0) + " {\n  label=\"" + family + "\";\n";
    // Base chains are stacked in order; rankdir=LR stacks them from bottom to top.
    std::string order;
    std::size_t bases = 0;
    for (std::size_t i = 0; i < panel.nodes.size(); ++i) {
      const Node& node = panel.nodes[i];
      out +=
          "  " + NodeName(p, i) + " [" + ColoursOf(node) + ", label=\"" + DotLabel(node) + "\"];\n";
      if (node.base) order = NodeName(p, i) + (bases++ == 0 ? "" : " -> ") + order;
    }
    if (bases > 1) out += "  { rank=same; " + order + " [style=invis]; }\n";
    for (std::size_t i = 0; i < panel.notes.size(); ++i) {
      note(NodeName(p, i) + "n", panel.notes[i]);
    }
    for (std::size_t i = 0; i < panel.nodes.size(); ++i) {
      for (const Line& line : panel.nodes[i].lines) {
        for (const std::size_t target : line.leads_to) {
          out += "  " + NodeName(p, i) + " -> " + NodeName(p, target) + " [label=\"" +
                 DotLine(line, line.condition, kConditionColumns) +
                 (line.leaves ? "\", style=dashed];\n" : "\"];\n");
        }
      }
    }
    out += "  }\n";
  }
  for (std::size_t i = 0; i < graph.notes.size(); ++i) {
    note("n" + std::to_string(i), graph.notes[i]);
  }
  if (graph.panels.empty()) note("none", "no rules");
  return out + "}\n";
}

}  // namespace sluice::capture::graph
