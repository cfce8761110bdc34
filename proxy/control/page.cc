// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/page.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "base/base64.h"

namespace sluice::proxy {
namespace {

constexpr std::array kBoth = {Direction::kOutbound, Direction::kInbound};

// Everything behind the head's <style> is either ours or a number, an address or a name of ours.
constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
 script-src 'unsafe-inline'; connect-src 'self'; img-src data:">
<link rel="icon" href="data:,">
<title>sluice-proxy</title>
<style>
:root { color-scheme: light dark; --out: #1f77b4; --in: #c25b00; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --out: #6cb2eb; --in: #f0a04b; } }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1rem 1.5rem; }
h1 { font-size: 1.3rem; margin: 0; }
h2 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .15rem .8rem .15rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td { white-space: nowrap; }
th[data-sort] { cursor: pointer; text-decoration: underline dotted; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
figure { margin: 0; }
figcaption { font-size: .9rem; }
svg { display: block; border: 1px solid var(--line); }
polyline { fill: none; stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.outbound { stroke: var(--out); } .inbound { stroke: var(--in); }
b.outbound { color: var(--out); } b.inbound { color: var(--in); }
.muted { opacity: .7; }
#rules { overflow: auto; width: fit-content; max-width: 100%; max-height: 80vh; border: 1px solid var(--line); }
#rules img { display: block; }
#tools[hidden] { display: none; }
</style>
</head>
<body>
)";

// Works on what is there already, so that without it nothing is missing but its own controls.
constexpr std::string_view kTail = R"(</tbody></table>
</main>
<script>
const tools = document.getElementById('tools');
const wanted = document.getElementById('filter');
const live = document.getElementById('live');
const note = document.getElementById('note');
let column = null, descending = false;
tools.hidden = false;

function arrange() {
  const body = document.querySelector('#connections tbody');
  const rows = [...body.rows];
  const text = wanted.value.trim().toLowerCase();
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(text);
  if (column === null) return;
  const value = row => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  rows.sort((a, b) => {
    const x = value(a), y = value(b);
    return (x < y ? -1 : x > y ? 1 : 0) * (descending ? -1 : 1);
  });
  body.append(...rows);
}

async function update() {
  if (!live.checked || document.hidden) return;
  try {
    const answer = await fetch('/', { cache: 'no-store' });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
    // The picture neither flickers nor moves.
    const picture = fresh.querySelector('#rules img');
    if (picture) {
      const drawn = new Image();
      drawn.alt = picture.alt;
      drawn.src = picture.src;
      await drawn.decode().catch(() => {});
      picture.replaceWith(drawn);
    }
    const before = document.getElementById('rules');
    const place = [before?.scrollLeft, before?.scrollTop];
    document.querySelector('main').replaceWith(fresh.querySelector('main'));
    if (before) document.getElementById('rules')?.scrollTo(...place);
    note.textContent = '';
    arrange();
  } catch (error) {
    note.textContent = `no answer from the proxy (${error.message})`;
  }
}

document.addEventListener('click', event => {
  const head = event.target.closest('th[data-sort]');
  if (!head) return;
  descending = column === head.cellIndex ? !descending : head.classList.contains('n');
  column = head.cellIndex;
  arrange();
});
wanted.addEventListener('input', arrange);
setInterval(update, 5000);
</script>
</body>
</html>
)";

// "1.5 MB": three digits at most, and the unit.
std::string Short(double value, std::string_view unit) {
  static constexpr std::array kPrefixes = {"", "k", "M", "G", "T", "P"};
  std::size_t prefix = 0;
  for (; value >= 999.5 && prefix + 1 < kPrefixes.size(); ++prefix) value /= 1000;
  const bool whole = value >= 99.5 || value == std::floor(value);
  return fmt::format("{:.{}f}{}{}{}", value,
                     whole          ? 0
                     : value < 9.95 ? 2
                                    : 1,
                     unit.empty() ? "" : " ", kPrefixes[prefix], unit);
}

// "2h 03m", "3m 20s", "7s".
std::string Duration(std::int64_t milliseconds) {
  const std::int64_t seconds = std::max<std::int64_t>(milliseconds, 0) / 1000;
  if (seconds >= 86'400) return fmt::format("{}d {:02}h", seconds / 86'400, seconds / 3600 % 24);
  if (seconds >= 3600) return fmt::format("{}h {:02}m", seconds / 3600, seconds / 60 % 60);
  if (seconds >= 60) return fmt::format("{}m {:02}s", seconds / 60, seconds % 60);
  return fmt::format("{}s", seconds);
}

constexpr int kPlotWidth = 300;
constexpr int kPlotHeight = 60;

using Series = std::array<std::vector<double>, 2>;  // by Direction

// Both directions over the time of the history, from 0 to the largest value.
std::string Plot(std::string_view title, std::string_view unit, const Series& series) {
  double most = 0;
  for (const std::vector<double>& values : series) {
    for (const double value : values) most = std::max(most, value);
  }
  std::string out = fmt::format(
      "<figure><figcaption>{} <span class=\"muted\">at most {}</span></figcaption>\n"
      "<svg width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
      title, Short(most, unit), kPlotWidth, kPlotHeight, kPlotWidth, kPlotHeight, title);
  for (const Direction direction : kBoth) {
    const std::vector<double>& values = series[static_cast<std::size_t>(direction)];
    out += fmt::format("<polyline class=\"{}\" points=\"", Name(direction));
    for (std::size_t i = 0; i < values.size(); ++i) {
      // The newest at the right edge.
      const auto age = static_cast<double>(values.size() - 1 - i);
      const double x = kPlotWidth * (1 - age / static_cast<double>(History::kMaxSamples - 2));
      const double y = most > 0 ? (kPlotHeight - 4) * (1 - values[i] / most) + 2 : kPlotHeight - 2;
      out += fmt::format("{}{:.1f},{:.1f}", i > 0 ? " " : "", x, y);
    }
    out += "\"/>";
  }
  return out + "</svg></figure>\n";
}

std::string Plots(std::span<const History::Sample> history) {
  const auto rates = [&history](std::uint64_t DirectionTotals::*total) {
    return Series{Rates(history, kBoth[0], total), Rates(history, kBoth[1], total)};
  };
  Series active;
  for (const History::Sample& sample : history) {
    for (const Direction direction : kBoth) {
      active[static_cast<std::size_t>(direction)].push_back(
          static_cast<double>(sample.of(direction).active));
    }
  }
  return fmt::format(
      "<h2>Last ten minutes: <b class=\"outbound\">outbound</b>, "
      "<b class=\"inbound\">inbound</b></h2>\n<div class=\"plots\">\n{}{}{}{}{}</div>\n",
      Plot("New connections", "/s", rates(&DirectionTotals::opened)),
      Plot("Open connections", "", active), Plot("Failures", "/s", rates(&DirectionTotals::failed)),
      Plot("From clients", "B/s", rates(&DirectionTotals::received_bytes)),
      Plot("To clients", "B/s", rates(&DirectionTotals::sent_bytes)));
}

std::string ListenerTable(const ProxyConfig& config, const Stats& stats) {
  std::string out =
      "<h2>Listeners</h2>\n<table><thead><tr><th>Direction<th class=\"n\">Port<th>Mode"
      "<th class=\"n\">Open<th class=\"n\">Opened<th class=\"n\">Failed<th class=\"n\">From clients"
      "<th class=\"n\">To clients</tr></thead><tbody>\n";
  for (const Direction direction : kBoth) {
    const bool outbound = direction == Direction::kOutbound;
    const bool tproxy = !outbound && config.inbound_mode == InboundMode::kTproxy;
    const DirectionTotals totals = Totals(stats, direction);
    out += fmt::format(
        "<tr><td><b class=\"{0}\">{0}</b><td class=\"n\">{1}<td>{2}<td class=\"n\">{3}"
        "<td class=\"n\">{4}<td class=\"n\">{5}<td class=\"n\">{6}<td class=\"n\">{7}</tr>\n",
        Name(direction), outbound ? config.outbound_port : config.inbound_port,
        tproxy ? "TPROXY" : "REDIRECT", totals.active, totals.opened, totals.failed,
        Short(static_cast<double>(totals.received_bytes), "B"),
        Short(static_cast<double>(totals.sent_bytes), "B"));
  }
  return out + "</tbody></table>\n";
}

std::string FailureTable(const Stats& stats) {
  std::string rows;
  for (std::size_t i = 0; i < static_cast<std::size_t>(Failure::kCount); ++i) {
    std::array<std::uint64_t, 2> counts{};
    for (const WorkerStats& worker : stats.workers()) {
      for (const Direction direction : kBoth) {
        counts[static_cast<std::size_t>(direction)] += worker.of(direction).failures[i].Get();
      }
    }
    if (counts[0] + counts[1] == 0) continue;
    rows += fmt::format("<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}</tr>\n",
                        Name(static_cast<Failure>(i)), counts[0], counts[1]);
  }
  if (rows.empty()) return "<h2>Failures</h2>\n<p>None.</p>\n";
  return "<h2>Failures</h2>\n<table><thead><tr><th>Reason<th class=\"n\">Outbound"
         "<th class=\"n\">Inbound</tr></thead><tbody>\n" +
         rows + "</tbody></table>\n";
}

// File names come from the command line, and messages from the C library.
std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

// As an image a browser runs no script of the picture, follows none of its links, and loads nothing
// for it.
std::string RulesSection(const RulesPicture* rules, std::int64_t now_unix_ms) {
  std::string out = "<h2>Rules</h2>\n";
  if (rules == nullptr) {
    return out +
           "<p>The proxy may not read them. With <code>--rules-graph</code> this page shows the "
           "picture that <code>sluice-init graph --file</code> draws.</p>\n";
  }
  if (rules->svg.empty()) {
    return out + fmt::format("<p>There is no picture: {}.</p>\n", Escaped(rules->problem));
  }
  return out + fmt::format(
                   "<p>Drawn {} ago; the numbers are packets.</p>\n"
                   "<div id=\"rules\"><img alt=\"The rules of netfilter\" "
                   "src=\"data:image/svg+xml;base64,{}\"></div>\n",
                   Duration(now_unix_ms - rules->unix_ms), Base64(rules->svg));
}

}  // namespace

std::string PageHead(const ProxyConfig& config, const PageFacts& facts, const Stats& stats,
                     std::span<const History::Sample> history, const RulesPicture* rules,
                     const PageRows& rows) {
  const auto& [shown, open, now_unix_ms] = rows;
  std::string out(kHead);
  out +=
      "<p id=\"tools\" hidden><label>Show connections with <input id=\"filter\" type=\"search\" "
      "placeholder=\"address, port or state\"></label> <label><input id=\"live\" type=\"checkbox\" "
      "checked> update every 5 s</label> <span id=\"note\"></span></p>\n<main>\n";
  out += fmt::format(
      "<h1>sluice-proxy is {}</h1>\n<p>Version {}{}{}{}, up for {}. {} of at most {} connections "
      "are "
      "open; {} worker{}.</p>\n",
      facts.state, facts.version, facts.commit.empty() ? "" : " (", facts.commit,
      facts.commit.empty() ? "" : ")", Duration(now_unix_ms - facts.start_unix_ms), stats.Active(),
      facts.max_connections, stats.workers().size(), stats.workers().size() == 1 ? "" : "s");
  out += ListenerTable(config, stats);
  out += Plots(history);
  out += FailureTable(stats);
  out += RulesSection(rules, now_unix_ms);
  out += "<h2>Connections</h2>\n";
  if (shown < open) {
    out += fmt::format("<p>{} of {}; <a href=\"/connections\">/connections</a> has all.</p>\n",
                       shown, open);
  }
  out +=
      "<table id=\"connections\"><thead><tr><th data-sort>Direction<th data-sort>State"
      "<th data-sort>Client<th data-sort>Destination<th data-sort>Connected to"
      "<th data-sort class=\"n\">Age<th data-sort class=\"n\">From client"
      "<th data-sort class=\"n\">To client</tr></thead><tbody>\n";
  return out;
}

std::string PageRow(const ConnectionInfo& info, std::int64_t now_unix_ms) {
  return fmt::format(
      "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td class=\"n\" data-value=\"{}\">{}"
      "<td class=\"n\" data-value=\"{}\">{}<td class=\"n\" data-value=\"{}\">{}</tr>\n",
      Name(info.direction), info.state, info.downstream_remote.ToString(),
      info.downstream_local.ToString(), info.upstream_host.ToString(),
      now_unix_ms - info.start_unix_ms, Duration(now_unix_ms - info.start_unix_ms),
      info.bytes_received, Short(static_cast<double>(info.bytes_received), "B"), info.bytes_sent,
      Short(static_cast<double>(info.bytes_sent), "B"));
}

std::string_view PageTail() { return kTail; }

}  // namespace sluice::proxy
