// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Every input as an AdmissionReview gets an answer, and always the same. For every object in it,
// the webhook's result equals that of the command line for its text.
#include <string>
#include <string_view>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "base/error.h"
#include "inject/object.h"
#include "inject/settings.h"
#include "inject/webhook/admission.h"
#include "test/fuzz/fuzz.h"

namespace {

using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
namespace json = boost::json;
using fuzz::Require;
using inject::Outcome;

const inject::Decide& Decision() {
  static const inject::Decide decide = inject::DecideBy(inject::Settings());
  return decide;
}

bool IsAscii(std::string_view text) {
  for (const char c : text) {
    if (c < ' ' || c > '~') return false;
  }
  return true;
}

void CheckAnswer(const inject::webhook::Answer& answer, std::string_view body) {
  using Kind = inject::webhook::Answer::Kind;
  Require(!answer.body.empty(), "there is an answer");
  Require(inject::webhook::Review(body, "1", Decision()).body == answer.body, "always the same");
  if (answer.kind == Kind::kInvalid) return;
  const json::object response = json::parse(answer.body).at("response").as_object();
  Require(response.at("uid").as_string() == answer.uid, "the uid comes back");
  Require(response.at("allowed").as_bool() == (answer.kind != Kind::kRefused), "refused or not");
  Require(response.contains("patch") == response.contains("patchType"), "both or none");
  if (answer.kind == Kind::kInjected) Require(response.contains("patch"), "there is a patch");
  if (answer.kind == Kind::kRefused) Require(!response.contains("patch"), "there is no patch");
}

// One decision, applied both ways.
void CheckObject(const json::object& object) {
  const std::string text = json::serialize(object);
  // libyaml refuses or folds some characters that JSON accepts; and an object that claims to be
  // injected already may stay as it is here, if it has more than was added.
  if (!IsAscii(text) || text.find("sluice.dev") != std::string::npos) return;
  const inject::ObjectResult ours = inject::InjectObject(object, {}, "1", Decision());
  try {
    const inject::Result other = inject::Inject(text, "a.json", "1", Decision());
    Require(ours.outcomes.size() == other.outcomes.size(), "the same workloads");
    for (std::size_t i = 0; i < ours.outcomes.size(); ++i) {
      Require(ours.outcomes[i].kind == other.outcomes[i].kind, "the same comes of them");
    }
    if (other.patches.empty()) {
      Require(ours.patch.empty(), "no patch");
    } else {
      Require(ours.patch == other.patches[0].patch, "the same patch");
    }
  } catch (const Error& error) {
    Require(!error.text().why.empty(), "an error says why");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMaxSize = 8192;
  if (size > kMaxSize) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  CheckAnswer(inject::webhook::Review(body, "1", Decision()), body);
  boost::system::error_code code;
  const json::value value = json::parse(body, code);
  const json::object* const top = code.failed() ? nullptr : value.if_object();
  if (top == nullptr) return 0;
  const json::value* const request = top->if_contains("request");
  const json::value* const object = request != nullptr && request->is_object()
                                        ? request->get_object().if_contains("object")
                                        : nullptr;
  if (object != nullptr && object->is_object()) CheckObject(object->get_object());
  CheckObject(*top);
  return 0;
}
