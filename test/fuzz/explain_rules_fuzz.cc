// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Rules as `explain` reads them, from any bytes, and the walk through them. The first byte: bit 0
// is the family, bits 1 and 2 say what the rest is - an x_tables entry, a match or target preceded
// by the length of its name and its revision, or messages of nf_tables.
#include <algorithm>
#include <string>
#include <vector>

#include "capture/capture_rules.h"
#include "capture/explain/deciders.h"
#include "capture/explain/walk.h"
#include "iptables/layout/xt_model.h"
#include "nftables/model/model.h"
#include "test/fuzz/fuzz.h"

namespace {

using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
namespace ex = capture::explain;

class NoHost : public ex::Host {
 public:
  ex::RouteAnswer Route(const ex::RouteQuery& query) override {
    const bool local = query.to.IsLoopback();
    return {.kind = local ? ex::RouteAnswer::Kind::kLocal : ex::RouteAnswer::Kind::kForward,
            .device = local ? "lo" : "eth0"};
  }
  std::optional<IpAddress> FirstAddress(const std::string&, Family) override { return {}; }
};

void Walk(ex::Model& model, Family family) {
  ex::Finish(model);
  NoHost host;
  const ex::Walker walker(model, host);
  ex::Connection connection;
  connection.to = {IpAddress::Parse(family == Family::kIpv4 ? "198.51.100.1" : "2001:db8::1"), 80};
  connection.uid = 1000;
  fuzz::Require(!walker.Explain(connection).candidates.empty(), "each walk has an end");
  // As rules of others, in front of ours.
  capture::CaptureConfig config;
  config.outbound_ranges.all = true;
  config.inbound_ports.all = true;
  config.ipv6 = true;
  static const capture::RuleSet rules = capture::BuildRules(config);
  static const ex::Model ours = ex::ModelOf(rules, "iptables");
  for (const auto& found : ex::FindDeciders(rules.family(family), ours, model, host)) {
    fuzz::Require(!found.meaning.empty(), "what is named has a meaning");
  }
}

// Messages: a type, the length in two bytes, and attributes.
nftables::Ruleset Read(std::span<const std::uint8_t> bytes) {
  using Add = void (*)(nftables::Ruleset&, std::uint8_t, nftables::Bytes);
  constexpr Add kAdd[] = {nftables::AddTable, nftables::AddChain, nftables::AddSet,
                          nftables::AddElements, nftables::AddRule};
  nftables::Ruleset out;
  while (bytes.size() >= 4) {
    const std::size_t size = std::min<std::size_t>(bytes[2] * 256U + bytes[3], bytes.size() - 4);
    // A separate copy, so that reads beyond its end are detected.
    const std::vector<std::uint8_t> body(bytes.begin() + 4,
                                         bytes.begin() + 4 + static_cast<std::ptrdiff_t>(size));
    kAdd[bytes[0] % 5U](out, bytes[1], body);
    bytes = bytes.subspan(4 + size);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const Family family = (data[0] & 1) == 0 ? Family::kIpv4 : Family::kIpv6;
  const std::size_t name_size = std::min<std::size_t>(data[1] % 32U, size - 3);
  const std::string name(reinterpret_cast<const char*>(data) + 3, name_size);
  const std::vector<std::uint8_t> rest(data + 3 + name_size, data + size);
  ex::Model model;
  switch (data[0] >> 1 & 3) {
    case 0: {
      ex::ModelTable table{.backend = "iptables", .family = family, .name = "nat"};
      table.chains.push_back({.name = "OUTPUT", .base = ex::BuiltinHook("nat", "OUTPUT")});
      table.chains[0].rules.push_back(
          iptables::DecodeModelRule(std::as_bytes(std::span(rest)), name, family));
      model.tables.push_back(std::move(table));
      break;
    }
    case 1:
      iptables::DecodeExtension((data[0] & 8) != 0, name, data[2], rest, family);
      return 0;
    default:
      nftables::AddModel(Read({data + 1, size - 1}), iptables::DecodeExtension, model);
  }
  Walk(model, family);
  return 0;
}
