// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The file of --mtls-outbound.
#include <string>
#include <string_view>

#include "base/error.h"
#include "proxy/mtls/outbound_policy.h"
#include "test/fuzz/fuzz.h"

namespace sluice::proxy {
namespace {

using fuzz::Require;

std::string LineOf(const OutboundRule& rule) {
  std::string out = rule.destination.ToString() + " ";
  for (const PortRange& range : rule.ports) {
    out += (out.back() == ' ' ? "" : ",") + range.ToString();
  }
  if (!rule.peer->host.empty()) out += " host=" + rule.peer->host;
  for (const tls::SpiffePattern& pattern : rule.peer->ids) out += " " + pattern.ToString();
  return out + "\n";
}

void RequireSanePolicy(const OutboundPolicy& policy) {
  std::string text;
  std::size_t line = 0;
  for (const OutboundRule& rule : policy.rules()) {
    Require(rule.line > line, "rules are in the order of their lines");
    line = rule.line;
    Require(!rule.ports.empty() && !rule.peer->ids.empty(), "a rule says for which ports, and who");
    Require(Coalesce(rule.ports) == rule.ports, "ports are sorted, and apart");
    const OutboundRule* const found =
        policy.Find({rule.destination.address(), rule.ports.front().first});
    Require(found != nullptr && found->line <= rule.line,
            "what a rule names is decided by it, or by one before it");
    text += LineOf(rule);
  }
  const OutboundPolicy again = OutboundPolicy::Parse(text, "again");
  Require(again.rules().size() == policy.rules().size(), "what was read can be written");
  for (std::size_t i = 0; i < again.rules().size(); ++i) {
    Require(again.rules()[i].destination == policy.rules()[i].destination &&
                again.rules()[i].ports == policy.rules()[i].ports &&
                again.rules()[i].peer->ids == policy.rules()[i].peer->ids &&
                again.rules()[i].peer->host == policy.rules()[i].peer->host,
            "and read again");
  }
}

}  // namespace
}  // namespace sluice::proxy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    sluice::proxy::RequireSanePolicy(sluice::proxy::OutboundPolicy::Parse(text, "policy"));
  } catch (const sluice::Error& error) {
    sluice::fuzz::Require(std::string_view(error.what()).find("policy") != std::string_view::npos,
                          "an error names the file");
  }
  return 0;
}
