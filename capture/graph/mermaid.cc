// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/graph/graph.h"
#include "capture/graph/lines.h"

namespace sluice::capture::graph {
namespace {

// Escapes all that could have a meaning: quotes, tags, entities, Markdown, comments and directives.
// Mermaid writes entities with a number sign.
std::string MermaidText(std::string_view text) {
  constexpr std::string_view kPlain = " -.,:/=!+_()";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (word || byte >= 0x80 || kPlain.find(c) != kPlain.npos) {
      out += c;
    } else {
      out += "#" + std::to_string(byte) + ";";
    }
  }
  return out;
}

// "3: " before the text, because "3. " would begin a Markdown list.
std::string MermaidLine(const Line& line, const std::string& text, std::size_t columns) {
  std::string out = line.rule == 0 ? "" : std::to_string(line.rule) + ": ";
  bool first = true;
  for (const std::string& part : Broken(text, columns)) {
    out += (first ? "" : "<br/>") + MermaidText(part);
    first = false;
  }
  if (line.packets) out += " (" + std::to_string(*line.packets) + ")";
  return out;
}

const char* ClassOf(const Node& node) {
  if (node.kind == Node::Kind::kOurs) return "ours";
  return node.kind == Node::Kind::kBase ? "base" : "foreign";
}

std::string MermaidLabel(const Node& node) {
  std::string out = "<b>" + MermaidText(node.title) + "</b>";
  if (!node.detail.empty()) out += "<br/>" + MermaidText(node.detail);
  for (const Line& line : node.lines) {
    if (line.leads_to.empty()) out += "<br/>" + MermaidLine(line, line.text, kRuleColumns);
  }
  return out;
}

}  // namespace

std::string ToMermaid(const Graph& graph) {
  std::string out =
      "flowchart LR\n"
      "  classDef base fill:#ffffff,stroke:#1f2937,color:#111827,text-align:left\n"
      "  classDef ours fill:#dbeafe,stroke:#1d4ed8,color:#111827,text-align:left\n"
      "  classDef foreign fill:#e5e7eb,stroke:#9ca3af,color:#374151,text-align:left\n";
  const auto note = [&out](const std::string& name, const std::string& text) {
    out += "  " + name + "[\"" + MermaidText(text) + "\"]:::foreign\n";
  };
  for (std::size_t p = 0; p < graph.panels.size(); ++p) {
    const Panel& panel = graph.panels[p];
    out += "  subgraph " + NodeName(p, 0) + "f[\"" + std::string(Name(panel.family)) + "\"]\n";
    out += "  direction LR\n";
    for (std::size_t i = 0; i < panel.nodes.size(); ++i) {
      out += "  " + NodeName(p, i) + "[\"" + MermaidLabel(panel.nodes[i]) +
             "\"]:::" + ClassOf(panel.nodes[i]) + "\n";
    }
    for (std::size_t i = 0; i < panel.notes.size(); ++i) {
      note(NodeName(p, i) + "n", panel.notes[i]);
    }
    for (std::size_t i = 0; i < panel.nodes.size(); ++i) {
      for (const Line& line : panel.nodes[i].lines) {
        for (const std::size_t target : line.leads_to) {
          out += "  " + NodeName(p, i) + (line.leaves ? " -.->|\"" : " -->|\"") +
                 MermaidLine(line, line.condition, kConditionColumns) + "\"| " +
                 NodeName(p, target) + "\n";
        }
      }
    }
    out += "  end\n";
  }
  for (std::size_t i = 0; i < graph.notes.size(); ++i) {
    note("n" + std::to_string(i), graph.notes[i]);
  }
  if (graph.panels.empty()) note("none", "no rules");
  return out;
}

}  // namespace sluice::capture::graph
