// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/mtls/outbound_policy.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "base/parse.h"
#include "base/text/ascii.h"

namespace sluice::proxy {
namespace {

// They are searched one by one for each connection, which takes about as long as a system call.
constexpr std::size_t kMaxRules = 1024;

// With what stands before it, a name in TLS has at most 255 bytes.
constexpr std::size_t kMaxHost = 230;
constexpr std::string_view kHostColumn = "host=";

constexpr PortRange kAllPorts{.first = 1, .last = std::numeric_limits<std::uint16_t>::max()};

// The words of one line, and where they are.
class Line {
 public:
  Line(std::string_view text, std::size_t number, const std::string& name)
      : text_(text), number_(number), name_(name) {
    if (!text_.empty() && text_.back() == '\r') text_.remove_suffix(1);
  }

  // The next word, or nothing at the end or at a comment.
  std::optional<std::string_view> Next() {
    while (end_ < text_.size() && IsBlank(text_[end_])) ++end_;
    begin_ = end_;
    if (begin_ == text_.size() || text_[begin_] == '#') return std::nullopt;
    while (end_ < text_.size() && !IsBlank(text_[end_])) ++end_;
    return text_.substr(begin_, end_ - begin_);
  }

  // About the word that Next gave last, or the place where there is none.
  [[noreturn]] void Refuse(const std::string& why, const std::string& help = {}) const {
    throw Error(ErrorKind::kUsage,
                {.doing = "read the rules of outbound mutual TLS",
                 .target = name_ + ":" + std::to_string(number_) + ":" + std::to_string(begin_ + 1),
                 .why = why,
                 .help = help});
  }

  // What `parse` makes of the next word; `what` is what to call it.
  template <typename Parser>
  auto Take(const std::string& what, const Parser& parse) {
    const std::optional<std::string_view> word = Next();
    if (!word) Refuse(what + " is missing", kColumns);
    try {
      return parse(*word);
    } catch (const std::invalid_argument& error) {
      Refuse("\"" + std::string(*word) + "\": expected " + error.what(), kColumns);
    }
  }

  // Back to the first word.
  void Restart() {
    end_ = 0;
    HasMore();
  }
  // Whether Next has something to give.
  bool HasMore() {
    const std::optional<std::string_view> word = Next();
    end_ = begin_;
    return word.has_value();
  }

 private:
  static constexpr const char* kColumns =
      "a line has a destination, ports, host=NAME if you like, and one SPIFFE ID or more, such as "
      "10.96.0.10 80 spiffe://cluster.local/ns/shop/sa/cart";

  std::string_view text_;
  std::size_t number_;
  const std::string& name_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

// A captured connection to ::ffff:10.0.0.1 is one to 10.0.0.1.
Cidr ParseDestination(std::string_view word) {
  const Cidr range = Cidr::Parse(word);
  if (range.address().Unmapped() != range.address()) {
    throw std::invalid_argument("an IPv4 address in its own form, such as " +
                                range.address().Unmapped().ToString());
  }
  return range;
}

std::vector<PortRange> ParsePorts(std::string_view word) {
  if (word == "*") return {kAllPorts};
  std::vector<PortRange> out;
  for (const std::string_view item : SplitList(word)) out.push_back(PortRange::Parse(item));
  if (out.empty()) throw std::invalid_argument("a port, such as 80, or * for all");
  return Coalesce(std::move(out));
}

// A name of a service, such as cart.shop.svc.cluster.local.
std::string ParseHost(std::string_view name) {
  const auto is_part = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.';
  };
  const bool is_whole = !name.empty() && name.front() != '.' && name.back() != '.';
  if (!is_whole || name.size() > kMaxHost || !std::ranges::all_of(name, is_part)) {
    throw std::invalid_argument("a DNS name, such as host=cart.shop.svc.cluster.local");
  }
  return std::string(name);
}

// Both are sorted and apart, so that a range that is covered is covered by one.
bool Covers(const std::vector<PortRange>& ports, const PortRange& range) {
  return std::ranges::any_of(ports, [&](const PortRange& other) { return other.Contains(range); });
}

// Whether `earlier` decides all that `rule` could.
bool Covers(const OutboundRule& earlier, const OutboundRule& rule) {
  return earlier.destination.Contains(rule.destination) &&
         std::ranges::all_of(rule.ports,
                             [&](const PortRange& range) { return Covers(earlier.ports, range); });
}

}  // namespace

std::string OutboundPeer::ServerName(std::uint16_t port) const {
  return host.empty() ? std::string() : "outbound_." + std::to_string(port) + "_._." + host;
}

std::string_view HostOfServerName(std::string_view name) {
  constexpr std::string_view kBeforeHost = "_._.";
  const std::size_t at = name.find(kBeforeHost);
  if (!name.starts_with("outbound_.") || at == std::string_view::npos) return {};
  return name.substr(at + kBeforeHost.size());
}

OutboundPolicy OutboundPolicy::Parse(std::string_view text, const std::string& name) {
  OutboundPolicy out;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    Line line(text.substr(0, end), ++number, name);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.HasMore()) continue;
    if (out.rules_.size() == kMaxRules) {
      line.Refuse("there are more than " + std::to_string(kMaxRules) + " rules",
                  "a range takes the place of many addresses");
    }
    OutboundRule rule{.destination = line.Take("the destination", ParseDestination),
                      .ports = line.Take("the list of ports", ParsePorts),
                      .peer = nullptr,
                      .line = number};
    OutboundPeer peer;
    const auto take = [&](std::string_view word) {
      if (word.starts_with(kHostColumn) && peer.host.empty() && peer.ids.empty()) {
        peer.host = ParseHost(word.substr(kHostColumn.size()));
      } else {
        peer.ids.push_back(tls::SpiffePattern::Parse(word));
      }
    };
    while (peer.ids.empty() || line.HasMore()) line.Take("the SPIFFE ID", take);
    rule.peer = std::make_shared<const OutboundPeer>(std::move(peer));
    for (const OutboundRule& earlier : out.rules_) {
      if (!Covers(earlier, rule)) continue;
      line.Restart();
      line.Refuse("line " + std::to_string(earlier.line) + " decides all of it already",
                  "the first line that fits decides: put the narrower destination first");
    }
    out.rules_.push_back(std::move(rule));
  }
  return out;
}

const OutboundRule* OutboundPolicy::Find(const SocketAddress& destination) const {
  const auto found = std::ranges::find_if(rules_, [&](const OutboundRule& rule) {
    return rule.destination.Contains(destination.ip) &&
           std::ranges::any_of(rule.ports, [&](const PortRange& range) {
             return range.Contains(destination.port);
           });
  });
  return found == rules_.end() ? nullptr : &*found;
}

}  // namespace sluice::proxy
