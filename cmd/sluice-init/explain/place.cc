// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/explain/place.h"

#include <variant>

#include <boost/json.hpp>

#include "capture/explain/cause.h"

namespace sluice::init {

namespace json = boost::json;
using namespace capture::explain;

Place PlaceOf(const PathEntry& entry) {
  if (entry.unread != nullptr) {
    return {.backend = entry.unread->backend,
            .table = entry.unread->table,
            .chain = entry.unread->chain,
            .text = "rules that could not be read"};
  }
  Place out{
      .backend = entry.table->backend, .table = entry.table->name, .chain = entry.chain->name};
  if (entry.policy) {
    out.text = "policy DROP";
    return out;
  }
  const ModelRule& rule = *entry.get();
  out.rule = entry.rule + 1;
  out.text = rule.text;
  out.flag = rule.flag;
  out.why = rule.why;
  return out;
}

// "iptables nat ISTIO_OUTPUT rule 3"
std::string Where(const Place& place) {
  std::string out = place.backend + " " + place.table + " " + place.chain;
  if (place.rule != 0) out += " rule " + std::to_string(place.rule);
  return out;
}

json::object PlaceJson(const PathEntry& entry) {
  const Place place = PlaceOf(entry);
  json::object out;
  out["backend"] = place.backend;
  out["table"] = place.table;
  out["chain"] = place.chain;
  out["rule"] = place.rule;
  out["text"] = place.text;
  if (place.flag.empty()) {
    out["flag"] = nullptr;
  } else {
    out["flag"] = place.flag;
  }
  return out;
}

namespace {

bool Captures(const PathEntry& entry) {
  const ModelRule* const rule = entry.get();
  if (rule == nullptr || AdviceFor(rule->flag, true).empty()) return false;
  return !rule->known || !std::holds_alternative<capture::Return>(rule->known->target);
}

}  // namespace

std::optional<PathEntry> CauseOf(const std::vector<PathEntry>& path) {
  // What an earlier one led to, such as the rules for DNS, did not decide.
  for (auto entry = path.rbegin(); entry != path.rend(); ++entry) {
    if (Captures(*entry)) return *entry;
  }
  return {};
}

std::vector<std::string> AdviceOf(Landing landing, const std::optional<PathEntry>& decided,
                                  const std::vector<PathEntry>& path) {
  std::vector<std::string> out;
  const bool captured =
      landing == Landing::kOutbound || landing == Landing::kInbound || landing == Landing::kDns;
  if (!captured) {
    const ModelRule* rule = decided ? decided->get() : nullptr;
    if (rule == nullptr) return out;
    if (!rule->why.empty()) out.push_back(rule->why);
    const std::string advice = AdviceFor(rule->flag, false);
    if (!advice.empty()) out.push_back(advice);
    if (!decided->chain->ours) {
      out.push_back("the rule that decided is not Sluice's: to have it otherwise, change \"" +
                    rule->text + "\"");
    }
    return out;
  }
  if (const auto cause = CauseOf(path)) {
    const std::string& flag = cause->get()->flag;
    out.push_back("captured because of " + flag + ": " + Where(PlaceOf(*cause)));
    out.push_back(AdviceFor(flag, true));
  }
  return out;
}

}  // namespace sluice::init
