// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Any text as a manifest: it is an error, or the additions can be removed again.
#include <string>
#include <string_view>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "base/error.h"
#include "inject/manifest.h"
#include "test/fuzz/fuzz.h"

namespace {

sluice::inject::Decision Everything(const sluice::inject::Workload& /*workload*/,
                                    const sluice::inject::yaml::Reader& /*reader*/) {
  namespace json = boost::json;
  sluice::inject::Decision decision;
  decision.additions.annotations.emplace_back("example.org/a", "b");
  decision.additions.labels.emplace_back("example.org/c", "true");
  decision.additions.init_first.push_back(
      json::object{{"name", "fuzz-first"}, {"args", json::array{"-x", ""}}});
  decision.additions.init_last.push_back(json::object{{"name", "fuzz-last"}});
  decision.additions.containers_last.push_back(json::object{{"name", "fuzz-proxy"}});
  return decision;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
  using fuzz::Require;
  using inject::Outcome;
  constexpr std::size_t kMaxSize = 8192;
  if (size > kMaxSize) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // A text that claims to be injected need not be ours.
  const bool claims = text.find("sluice.dev") != std::string_view::npos;
  try {
    const inject::Result once = inject::Inject(text, "a.yaml", "1", Everything);
    bool all = !claims;
    for (const Outcome& outcome : once.outcomes) {
      all &= outcome.kind == Outcome::Kind::kInjected;
      if (outcome.kind == Outcome::Kind::kRefused) Require(!outcome.reason.empty(), "it says why");
    }
    const inject::Result twice = inject::Inject(once.text, "a.yaml", "1", Everything);
    if (all) Require(twice.text == once.text, "twice is once");
    const inject::Result back = inject::Uninject(once.text, "a.yaml");
    if (all) Require(back.text == text, "it is given back");
  } catch (const Error& error) {
    Require(!error.text().why.empty(), "an error says why");
  }
  return 0;
}
