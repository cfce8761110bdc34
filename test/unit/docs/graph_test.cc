// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Pictures of rules. This test writes those in docs/graphs: after an intended change, run it with
// SLUICE_UPDATE_GOLDENS=1.

#include "capture/graph/graph.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/capture_rules.h"
#include "capture/graph/lines.h"
#include "iptables/compile.h"
#include "nftables/model/model.h"
#include "nftables/program/compile.h"
#include "test/support/capture_cases.h"

namespace sluice::capture::graph {
namespace {

using explain::HookPoint;
using explain::Model;
using explain::ModelChain;
using explain::ModelRule;
using explain::ModelTable;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing_support::ConfigOf;
using testing_support::FindCase;

Graph PlannedXtables(const char* name) {
  return Draw(
      explain::ModelOf(iptables::Compile(BuildRules(ConfigOf(FindCase(name)))), "iptables"));
}

ModelRule JumpTo(const std::string& chain, const std::string& text) {
  ModelRule out{.text = text};
  out.action = Jump{chain};
  return out;
}

// A foreign chain in the nat table, after the one named `title`.
Model Foreign(const std::string& chain, const std::string& text) {
  ModelTable table{.backend = "iptables", .family = Family::kIpv4, .name = "nat"};
  ModelChain base{.name = "OUTPUT"};
  base.base = explain::BuiltinHook("nat", "OUTPUT");
  base.rules.push_back(JumpTo(chain, text));
  base.rules.back().packets = 12;
  base.rules.back().counted = true;
  table.chains = {base, {.name = chain}, {.name = "UNUSED"}};
  Model model;
  model.tables.push_back(table);
  explain::Finish(model);
  return model;
}

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Graph, BaseChainsComeFirstByHookAndPriority) {
  const Graph graph = PlannedXtables("tproxy-all");
  ASSERT_FALSE(graph.panels.empty());
  const auto& nodes = graph.panels[0].nodes;
  ASSERT_GE(nodes.size(), 4U);
  EXPECT_EQ(nodes[0].title, "mangle PREROUTING");
  EXPECT_EQ(nodes[0].detail, "hook PREROUTING, priority -150");
  EXPECT_EQ(nodes[0].kind, Node::Kind::kBase);
  const auto output = std::ranges::find(nodes, "nat OUTPUT", &Node::title);
  ASSERT_NE(output, nodes.end());
  EXPECT_TRUE(output->base);
  const auto first = std::ranges::find(nodes, Node::Kind::kOurs, &Node::kind);
  EXPECT_LT(output, first) << "a chain stands before a base chain";
  // An arrow has its rule's condition, and leads to the rule's target.
  const Line& jump = output->lines.at(0);
  EXPECT_EQ(jump.condition, "all");
  EXPECT_FALSE(jump.packets);
  ASSERT_EQ(jump.leads_to.size(), 1U);
  EXPECT_EQ(nodes[jump.leads_to[0]].title, "nat ISTIO_OUTPUT");
}

TEST(Graph, BothBackendsGiveTheSameArrows) {
  const auto rules = nftables::Compile(BuildRules(ConfigOf(FindCase("seed-manifest"))));
  const Graph nft = Draw(nftables::PlannedModel(rules));
  const Graph xtables = PlannedXtables("seed-manifest");
  const auto arrows = [](const Graph& graph) {
    std::set<std::string> out;
    for (const Node& node : graph.panels.at(0).nodes) {
      for (const Line& line : node.lines) {
        for (const std::size_t to : line.leads_to) {
          // Without the table, which the backends write differently.
          const auto local = [](const std::string& name) {
            return name.substr(name.find_last_of(" /") + 1);
          };
          out.insert(local(node.title) + " " + std::to_string(line.rule) + " " +
                     local(graph.panels[0].nodes[to].title));
        }
      }
    }
    return out;
  };
  EXPECT_EQ(arrows(nft), arrows(xtables));
  EXPECT_EQ(nft.panels[0].nodes[0].detail, "hook PREROUTING, priority -99, nf_tables");
  EXPECT_THAT(ToMermaid(nft), HasSubstr("|\"1: meta l4proto tcp\"|"));
}

TEST(Graph, OthersAreGreyAndHaveTheirPackets) {
  const Graph graph = Draw(Foreign("DOCKER", "-m addrtype --dst-type LOCAL -j DOCKER"));
  const auto& nodes = graph.panels.at(0).nodes;
  ASSERT_EQ(nodes.size(), 2U);
  EXPECT_EQ(nodes[0].kind, Node::Kind::kForeign);
  EXPECT_EQ(nodes[1].kind, Node::Kind::kForeign);
  EXPECT_EQ(nodes[0].lines.at(0).condition, "-m addrtype --dst-type LOCAL");
  EXPECT_EQ(nodes[0].lines.at(0).packets, 12U);
  EXPECT_THAT(graph.panels[0].notes,
              ElementsAre("not shown: 1 foreign chain that nothing leads to"));
  EXPECT_THAT(ToMermaid(graph), HasSubstr("a0 -->|\"1: -m addrtype --dst-type LOCAL (12)\"| a1\n"));
  EXPECT_THAT(ToMermaid(graph), HasSubstr("\"]:::foreign\n"));
  EXPECT_THAT(ToDot(graph), HasSubstr("#e5e7eb"));
  EXPECT_THAT(ToSvg(graph), HasSubstr("<rect class=\"foreign\""));
}

TEST(Graph, OutsideBytesStayText) {
  const std::string hostile = "a\"b<c>&d\n\x1b[0m\\l#e;`f`%%{g}\xff\xe2\x80\xae'";
  const Graph graph =
      Draw(Foreign(hostile, "-m comment --comment \"" + hostile + "\" -j " + hostile));
  const Node& node = graph.panels.at(0).nodes.at(1);
  EXPECT_EQ(node.title, "nat a\"b<c>&d\\x0a\\x1b[0m\\l#e;`f`%%{g}\\xff\\xe2\\x80\\xae'");
  const std::string mermaid = ToMermaid(graph);
  EXPECT_THAT(mermaid, HasSubstr("nat a#34;b#60;c#62;#38;d#92;x0a#92;x1b#91;0m#92;l#35;e#59;#96;f"
                                 "#96;#37;#37;#123;g#125;#92;xff"));
  EXPECT_THAT(ToDot(graph), HasSubstr("nat a&#34;b&#60;c&#62;&#38;d&#92;x0a&#92;x1b[0m&#92;l#e"));
  EXPECT_THAT(ToSvg(graph), HasSubstr(">nat a&quot;b&lt;c&gt;&amp;d\\x0a\\x1b[0m\\l#e;`f`"));
  for (const std::string& text : {mermaid, ToDot(graph), ToSvg(graph)}) {
    EXPECT_THAT(text, Not(HasSubstr("\x1b")));
    EXPECT_THAT(text, Not(HasSubstr("\xff")));
    EXPECT_THAT(text, Not(HasSubstr("\xe2\x80\xae")));
  }
}

TEST(Graph, LongTextsAreCutVisibly) {
  EXPECT_EQ(Visible("abcdefghij", 10), "abcdefghij");
  EXPECT_EQ(Visible("abcdefghijk", 10), "abcdefg...");
  EXPECT_EQ(Visible("Gr\xc3\xbc\xc3\x9f"
                    "e 12345",
                    10),
            "Gr\xc3\xbc\xc3\x9f"
            "e 1...");
  EXPECT_EQ(Visible("\n\n\n\n", 10), "\\x0a...");
  EXPECT_EQ(Visible("\xed\xa0\x80|\xc0\x80|\xf4\x90\x80\x80|\xe2\x82", 100),
            "\\xed\\xa0\\x80|\\xc0\\x80|\\xf4\\x90\\x80\\x80|\\xe2\\x82");
  const Graph graph = Draw(Foreign("X", "-m comment --comment \"" + std::string(300, 'x') + "\""));
  EXPECT_LE(graph.panels.at(0).nodes.at(0).lines.at(0).text.size(), kMostText);
  EXPECT_THAT(ToSvg(graph), HasSubstr("..."));
  EXPECT_THAT(Broken("one two three", 7), ElementsAre("one two", "three"));
  EXPECT_THAT(Broken("abcdefghij kl", 4), ElementsAre("abcd", "efgh", "ij", "kl"));
}

// A node of a large cluster: the picture stays bounded, and says what was left out.
TEST(Graph, ManyChainsAreBoundedAndSaidToBe) {
  Model model = Foreign("KUBE-SERVICES", "-j KUBE-SERVICES");
  auto& chains = model.tables[0].chains;
  chains.resize(2);
  constexpr std::size_t kServices = 2'000;
  for (std::size_t i = 0; i < kServices; ++i) {
    const std::string name = "KUBE-SVC-" + std::to_string(i);
    chains[1].rules.push_back(JumpTo(name, "-j " + name));
    chains.push_back({.name = name});
  }
  explain::Finish(model);
  const Graph graph = Draw(model);
  const Panel& panel = graph.panels.at(0);
  EXPECT_EQ(panel.nodes.size(), kMostChains);
  EXPECT_THAT(panel.notes, ElementsAre("and 1882 more chains, which are not shown"));
  ASSERT_EQ(panel.nodes[1].lines.size(), kMostLines + 1);
  EXPECT_EQ(panel.nodes[1].lines.back().text, "... and 1960 more");
  EXPECT_EQ(panel.nodes[1].lines.back().leads_to.size(), kMostChains - 2 - kMostLines);
  EXPECT_LT(ToMermaid(graph).size(), 50'000U) << "more than Mermaid takes";
  EXPECT_THAT(ToSvg(graph), HasSubstr("and 1882 more chains"));
}

// A model made from outside bytes may have loops, which the kernel refuses.
TEST(Graph, ACircleIsDrawn) {
  Model model = Foreign("A", "-j A");
  model.tables[0].chains[1].rules.push_back(JumpTo("A", "-j A"));
  explain::Finish(model);
  EXPECT_THAT(ToSvg(Draw(model)), HasSubstr("nat A"));
}

TEST(Graph, NothingIsSaid) {
  EXPECT_THAT(ToMermaid({}), HasSubstr("no rules"));
  EXPECT_THAT(ToDot({}), HasSubstr("no rules"));
  EXPECT_THAT(ToSvg({}), HasSubstr("no rules"));
}

TEST(Graph, PicturesInTheDocumentationAreTrue) {
  for (const char* name : {"seed-manifest", "dns-all-v6"}) {
    const std::string path = std::string(SLUICE_GRAPHS_DIR) + "/" + name + ".svg";
    const std::string picture = ToSvg(PlannedXtables(name));
    if (std::getenv("SLUICE_UPDATE_GOLDENS") != nullptr) std::ofstream(path) << picture;
    EXPECT_EQ(Read(path), picture) << path << ": SLUICE_UPDATE_GOLDENS=1 writes it anew";
  }
}

}  // namespace
}  // namespace sluice::capture::graph
