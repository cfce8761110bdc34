// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/netns/verify/verify_fixture.h"

#include <vector>

#include <boost/json.hpp>

namespace sluice::testing_support {

std::ostream& operator<<(std::ostream& out, const Traces& traces) {
  for (const auto& link : traces.links) out << link << '\n';
  for (const auto& route : traces.routes) out << route << '\n';
  for (const auto& address : traces.addresses) out << address << '\n';
  return out << traces.neighbours;
}

Traces VerifyTest::Look() const {
  netns::RouteSocket socket(pod());
  Traces out{.links = socket.Links(),
             .routes = socket.Routes(Family::kIpv4),
             .addresses = socket.Addresses(),
             .neighbours = {}};
  for (const auto& route : socket.Routes(Family::kIpv6)) out.routes.push_back(route);
  out.neighbours = RunCommand(pod(), {.argv = {"ip", "neigh", "show", "nud", "permanent"}}).out;
  // Duplicate address detection of the pod's own interfaces may still run.
  for (auto& entry : out.addresses) entry.tentative = false;
  // ::6 on lo belongs to the rules, not to the validation.
  std::erase_if(out.addresses, [](const auto& entry) { return entry.link == "lo"; });
  std::erase_if(out.routes,
                [](const auto& route) { return route.destination == Cidr::Parse("::6/128"); });
  return out;
}

Checks ChecksOf(const CommandResult& result) {
  Checks out;
  const auto report = boost::json::parse(result.err).as_object();
  for (const auto& check : report.at("checks").as_array()) {
    const auto text = [&](const char* key) {
      return std::string(check.as_object().at(key).as_string());
    };
    out[text("family") + " " + text("path")] = {text("status"), text("detail")};
  }
  return out;
}

std::vector<std::string> PathsWith(const Checks& checks, std::string_view status) {
  std::vector<std::string> out;
  for (const auto& [path, check] : checks) {
    if (check.first == status) out.push_back(path + ": " + check.second);
  }
  return out;
}

Words Usual(std::initializer_list<std::string> more) {
  Words words = {"-u", "1337", "-i", "*", "-b", "*", "--log-format", "json"};
  words.insert(words.end(), more);
  return words;
}

Words Verify(Words words, std::initializer_list<std::string> more) {
  words.insert(words.begin(), "verify");
  words.insert(words.end(), more);
  return words;
}

Words Diff(Words words) {
  words.insert(words.begin(), "diff");
  return words;
}

}  // namespace sluice::testing_support
