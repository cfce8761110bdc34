// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <map>
#include <utility>

#include "capture/graph/graph.h"
#include "capture/graph/lines.h"

namespace sluice::capture::graph {
namespace {

// In pixels; whole numbers, so that pictures are the same everywhere.
constexpr int kCharacter = 7;
constexpr int kLineHeight = 16;
constexpr int kPadding = 10;
constexpr int kColumnGap = 84;  // room for the arrows
constexpr int kRowGap = 18;
constexpr int kLaneHeight = 10;
constexpr int kHeading = 34;

std::string SvgText(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// A character of the fonts named below is 0.60 to 0.61 of its 12 pixels wide.
int WidthOf(std::string_view text) { return static_cast<int>(Columns(text)) * 22 / 3; }

std::string Number(int value) { return std::to_string(value); }

std::string Text(int x, int y, const char* kind, std::string_view text) {
  return "<text x=\"" + Number(x) + "\" y=\"" + Number(y) + "\" class=\"" + kind + "\">" +
         SvgText(text) + "</text>\n";
}

// A node's box, or a lane that an arrow keeps free on its way past a column.
struct Item {
  std::size_t node = kNone;
  std::size_t column = 0;
  int height = kLaneHeight;
  int y = 0;
  std::vector<int> from = {};  // where incoming arrows start

  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  int entry() const { return node == kNone ? y + height / 2 : y + kPadding + kLineHeight / 2; }
};

// From a line of one node to another node, through lanes.
struct Arrow {
  std::size_t from = 0;
  std::size_t line = 0;
  std::size_t to = 0;
  std::vector<std::size_t> way = {};  // items: lanes, then the node
};

class PanelDrawer {
 public:
  PanelDrawer(const Panel& panel, int top) : panel_(panel), top_(top) {}

  std::string Run() {
    FindDepths();
    Measure();
    FillColumns();
    for (std::size_t i = 0; i < columns_.size(); ++i) Place(i);
    std::string out = Text(kPadding, top_ + 22, "family", Name(panel_.family));
    for (const Arrow& arrow : arrows_) out += DrawArrow(arrow);
    for (const Item& item : items_) {
      if (item.node != Item::kNone) out += DrawBox(item);
    }
    bottom_ = std::max(bottom_, top_ + kHeading);
    for (const std::string& note : panel_.notes) {
      bottom_ += kLineHeight;
      out += Text(kPadding, bottom_, "note", note);
      right_ = std::max(right_, kPadding + WidthOf(note));
    }
    return out;
  }
  int right() const { return right_; }
  int bottom() const { return bottom_; }

 private:
  // A node's column is the longest path to it from a base chain. The kernel refuses loops; if a
  // model has one all the same, its arrow points back.
  void FindDepths() {
    const std::size_t count = panel_.nodes.size();
    std::vector<std::size_t> order;
    std::vector<char> state(count, 0);
    const auto visit = [&](const auto& self, std::size_t i) -> void {
      state[i] = 1;
      for (std::size_t l = 0; l < panel_.nodes[i].lines.size(); ++l) {
        for (const std::size_t to : panel_.nodes[i].lines[l].leads_to) {
          arrows_.push_back({i, l, to});
          if (state[to] == 0) self(self, to);
        }
      }
      order.push_back(i);
    };
    for (std::size_t i = 0; i < count; ++i) {
      if (state[i] == 0) visit(visit, i);
    }
    std::vector<std::size_t> place(count);
    for (std::size_t i = 0; i < count; ++i) place[order[i]] = count - i;
    std::ranges::sort(arrows_, {}, [&](const Arrow& arrow) { return place[arrow.from]; });
    depth_.assign(count, 0);
    for (const Arrow& arrow : arrows_) {
      if (place[arrow.to] <= place[arrow.from]) continue;
      depth_[arrow.to] = std::max(depth_[arrow.to], depth_[arrow.from] + 1);
    }
  }

  void Measure() {
    for (const Node& node : panel_.nodes) {
      int width = std::max(WidthOf(node.title) * 8 / 7, WidthOf(node.detail));
      int lines = node.detail.empty() ? 1 : 2;
      std::vector<int> at;
      int numbers = 0;
      int packets = 0;
      for (const Line& line : node.lines) {
        if (line.rule != 0) numbers = std::max(numbers, WidthOf(std::to_string(line.rule)));
        if (line.packets) {
          packets = std::max(packets, WidthOf(std::to_string(*line.packets)) + 2 * kCharacter);
        }
      }
      if (numbers > 0) numbers += kCharacter;
      auto& texts = texts_.emplace_back();
      for (const Line& line : node.lines) {
        at.push_back(lines);
        texts.push_back(Broken(line.text, kRuleColumns));
        lines += static_cast<int>(texts.back().size());
        for (const std::string& text : texts.back()) {
          width = std::max(width, numbers + WidthOf(text) + packets);
        }
      }
      at_.push_back(std::move(at));
      numbers_.push_back(numbers);
      widths_.push_back(width + 2 * kPadding);
      heights_.push_back(lines * kLineHeight + 2 * kPadding);
    }
  }

  // The nodes' items come first, with the same indices.
  void FillColumns() {
    std::size_t count = 0;
    for (const std::size_t depth : depth_) count = std::max(count, depth + 1);
    columns_.resize(count);
    width_.assign(count, 0);
    for (std::size_t i = 0; i < panel_.nodes.size(); ++i) {
      items_.push_back({.node = i, .column = depth_[i], .height = heights_[i]});
      columns_[depth_[i]].push_back(i);
      width_[depth_[i]] = std::max(width_[depth_[i]], widths_[i]);
    }
    // Arrows between the same two nodes share their lanes.
    std::map<std::pair<std::size_t, std::size_t>, std::vector<std::size_t>> lanes;
    for (Arrow& arrow : arrows_) {
      auto& way = lanes[{arrow.from, arrow.to}];
      // One lane in each column between them.
      for (std::size_t c = depth_[arrow.from] + 1 + way.size(); c < depth_[arrow.to]; ++c) {
        way.push_back(items_.size());
        columns_[c].push_back(items_.size());
        items_.push_back({.column = c});
      }
      arrow.way = way;
      arrow.way.push_back(arrow.to);
    }
    x_.assign(count, kPadding);
    for (std::size_t c = 1; c < count; ++c) x_[c] = x_[c - 1] + width_[c - 1] + kColumnGap;
    right_ = count == 0 ? 0 : x_.back() + width_.back();
  }

  int LineY(std::size_t node, std::size_t line) const {
    return items_[node].y + kPadding + at_[node][line] * kLineHeight + kLineHeight / 2;
  }

  // Top to bottom, each item as close as possible to where its arrows start; base chains in their
  // order. Earlier columns are already placed.
  void Place(std::size_t column) {
    for (const Arrow& arrow : arrows_) {
      int begin = LineY(arrow.from, arrow.line);
      std::size_t before = depth_[arrow.from];
      for (const std::size_t item : arrow.way) {
        if (before + 1 == column && items_[item].column == column) {
          items_[item].from.push_back(begin);
        }
        begin = items_[item].entry();
        before = items_[item].column;
      }
    }
    const auto wish = [this](std::size_t item) {
      const std::vector<int>& from = items_[item].from;
      int sum = 0;
      for (const int y : from) sum += y;
      return from.empty() ? 0 : sum / static_cast<int>(from.size());
    };
    auto& items = columns_[column];
    if (column > 0) std::ranges::stable_sort(items, {}, wish);
    int y = top_ + kHeading;
    for (const std::size_t item : items) {
      const int above = items_[item].entry() - items_[item].y;
      items_[item].y = std::max(y, wish(item) - above);
      y = items_[item].y + items_[item].height + kRowGap;
      bottom_ = std::max(bottom_, y - kRowGap);
    }
  }

  std::string DrawArrow(const Arrow& arrow) const {
    const Line& line = panel_.nodes[arrow.from].lines[arrow.line];
    const Node::Kind kind = panel_.nodes[arrow.to].kind;
    int x = x_[depth_[arrow.from]] + widths_[arrow.from];
    int y = LineY(arrow.from, arrow.line);
    std::string path = "M" + Number(x) + " " + Number(y);
    const auto curve = [&](int to_x, int to_y) {
      const int middle = (x + to_x) / 2;
      path += "C" + Number(middle) + " " + Number(y) + " " + Number(middle) + " " + Number(to_y) +
              " " + Number(to_x) + " " + Number(to_y);
      x = to_x;
      y = to_y;
    };
    // An arrow may bend only past the widest box of its column.
    const auto straight = [&](int to_x) {
      if (to_x > x) path += "H" + Number(to_x);
      x = std::max(x, to_x);
    };
    straight(x_[depth_[arrow.from]] + width_[depth_[arrow.from]]);
    for (const std::size_t item : arrow.way) {
      const std::size_t column = items_[item].column;
      curve(x_[column] - (items_[item].node == Item::kNone ? 0 : 2), items_[item].entry());
      if (items_[item].node == Item::kNone) straight(x_[column] + width_[column]);
    }
    return std::string("<path class=\"") + (kind == Node::Kind::kForeign ? "grey" : "arrow") +
           (line.leaves ? " goto" : "") + "\" d=\"" + path + "\"/>\n";
  }

  std::string DrawBox(const Item& item) const {
    const std::size_t i = item.node;
    const Node& node = panel_.nodes[i];
    const int x = x_[item.column];
    const bool foreign = node.kind == Node::Kind::kForeign;
    const char* const kind = foreign ? "foreign" : node.kind == Node::Kind::kOurs ? "ours" : "base";
    std::string out = "<rect class=\"" + std::string(kind) + "\" x=\"" + Number(x) + "\" y=\"" +
                      Number(item.y) + "\" width=\"" + Number(widths_[i]) + "\" height=\"" +
                      Number(item.height) + "\" rx=\"4\"/>\n";
    // The baseline of a text is 4 pixels above the bottom of its line.
    const auto base_line = [&](int line) {
      return item.y + kPadding + (line + 1) * kLineHeight - 4;
    };
    out += Text(x + kPadding, base_line(0), foreign ? "name other" : "name", node.title);
    if (!node.detail.empty()) out += Text(x + kPadding, base_line(1), "detail", node.detail);
    for (std::size_t l = 0; l < node.lines.size(); ++l) {
      const Line& line = node.lines[l];
      const int first = at_[i][l];
      const char* const rule = foreign || line.foreign ? "other" : "rule";
      if (line.rule != 0) {
        out += Text(x + kPadding, base_line(first), "detail", std::to_string(line.rule));
      }
      for (std::size_t t = 0; t < texts_[i][l].size(); ++t) {
        out += Text(x + kPadding + numbers_[i], base_line(first + static_cast<int>(t)), rule,
                    texts_[i][l][t]);
      }
      if (line.packets) {
        out += Text(x + widths_[i] - kPadding, base_line(first), "count",
                    std::to_string(*line.packets));
      }
    }
    return out;
  }

  const Panel& panel_;
  int top_;
  int right_ = 0;
  int bottom_ = 0;
  // By node: its column, the text lines of its rules, the line at which each rule starts, the width
  // of their numbers, the size of its box.
  std::vector<std::size_t> depth_ = {};
  std::vector<std::vector<std::vector<std::string>>> texts_ = {};
  std::vector<std::vector<int>> at_ = {};
  std::vector<int> numbers_ = {};
  std::vector<int> widths_ = {};
  std::vector<int> heights_ = {};
  std::vector<Arrow> arrows_ = {};
  std::vector<Item> items_ = {};
  // By column.
  std::vector<std::vector<std::size_t>> columns_ = {};
  std::vector<int> width_ = {};
  std::vector<int> x_ = {};
};

constexpr const char* kStyle =
    "<style>\n"
    "text{font:12px ui-monospace,\"DejaVu Sans Mono\",\"Liberation Mono\",monospace;fill:#111827}\n"
    ".family{font-size:18px;font-weight:bold}\n"
    ".name{font-size:13px;font-weight:bold}\n"
    ".detail,.note{fill:#4b5563}\n"
    ".other{fill:#4b5563}\n"
    ".count{fill:#1d4ed8;font-weight:bold;text-anchor:end}\n"
    "rect{stroke-width:1.5}\n"
    ".base{fill:#fff;stroke:#1f2937}\n"
    ".ours{fill:#dbeafe;stroke:#1d4ed8}\n"
    ".foreign{fill:#e5e7eb;stroke:#9ca3af}\n"
    "path{fill:none;stroke-width:1.5}\n"
    ".arrow{stroke:#1f2937;marker-end:url(#to)}\n"
    ".grey{stroke:#9ca3af;marker-end:url(#to-grey)}\n"
    ".goto{stroke-dasharray:5 3}\n"
    "</style>\n";

std::string Marker(const char* name, const char* colour) {
  return std::string("<marker id=\"") + name +
         "\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" "
         "orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" style=\"fill:" +
         colour + ";stroke:none\"/></marker>\n";
}

// Explains those colours and lines that occur.
std::string Legend(const Graph& graph) {
  bool base = false;
  bool ours = false;
  bool foreign = false;
  bool leaves = false;
  bool counts = false;
  for (const Panel& panel : graph.panels) {
    for (const Node& node : panel.nodes) {
      base |= node.kind == Node::Kind::kBase;
      ours |= node.kind == Node::Kind::kOurs;
      foreign |= node.kind == Node::Kind::kForeign;
      for (const Line& line : node.lines) {
        leaves |= line.leaves;
        counts |= line.packets.has_value();
      }
    }
  }
  std::string out;
  const auto say = [&out](bool is, const char* words) {
    if (is) out += (out.empty() ? "" : "; ") + std::string(words);
  };
  say(base, "white: leads to Sluice");
  say(ours, "blue: Sluice");
  say(foreign, "grey: others");
  say(leaves, "dashed: goto");
  say(counts, "blue numbers: packets");
  return out;
}

}  // namespace

std::string ToSvg(const Graph& graph) {
  std::string body;
  int right = 0;
  int bottom = kPadding;
  for (const Panel& panel : graph.panels) {
    PanelDrawer drawer(panel, bottom);
    body += drawer.Run();
    right = std::max(right, drawer.right());
    bottom = drawer.bottom() + kRowGap;
  }
  std::vector<std::string> notes = graph.notes;
  if (graph.panels.empty()) notes.insert(notes.begin(), "no rules");
  if (std::string legend = Legend(graph); !legend.empty()) notes.push_back(std::move(legend));
  for (const std::string& note : notes) {
    for (const std::string& line : Broken(note, 110)) {
      bottom += kLineHeight;
      body += Text(kPadding, bottom, "note", line);
      right = std::max(right, kPadding + WidthOf(line));
    }
  }
  const std::string width = Number(right + kPadding);
  const std::string height = Number(bottom + kPadding);
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + width + "\" height=\"" + height +
         "\" viewBox=\"0 0 " + width + " " + height + "\">\n" +
         "<title>Rules of netfilter</title>\n" + kStyle + "<defs>\n" + Marker("to", "#1f2937") +
         Marker("to-grey", "#9ca3af") + "</defs>\n" + "<rect width=\"" + width + "\" height=\"" +
         height + "\" style=\"fill:#fff;stroke:none\"/>\n" + body + "</svg>\n";
}

}  // namespace sluice::capture::graph
