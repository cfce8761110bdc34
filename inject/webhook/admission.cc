// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/webhook/admission.h"

#include <algorithm>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/base64.h"
#include "inject/object.h"
#include "inject/yaml/node.h"

namespace sluice::inject::webhook {
namespace {

namespace json = boost::json;
using Kind = Answer::Kind;

constexpr std::string_view kVersion = "admission.k8s.io/v1";
// The API server truncates longer ones (Kubernetes' own limit).
constexpr std::size_t kMaxWarning = 256;

std::string_view TextOf(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string_view(value->get_string())
                                                : std::string_view();
}

const json::object* ObjectOf(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value == nullptr ? nullptr : value->if_object();
}

Answer Invalid(std::string why) { return {.body = why + "\n", .reason = std::move(why)}; }

// Why a request is not for an injectable pod; empty if it is.
std::string Foreign(const json::object& request) {
  const json::object* const kind = ObjectOf(request, "kind");
  if (kind == nullptr || TextOf(*kind, "kind") != "Pod" || !TextOf(*kind, "group").empty()) {
    return "it is not a Pod";
  }
  if (TextOf(request, "operation") != "CREATE") return "nothing is created";
  if (!TextOf(request, "subResource").empty()) return "it is about a part of the pod";
  return {};
}

Kind KindOf(const ObjectResult& result) {
  if (result.outcomes.empty()) return Kind::kSkipped;
  switch (result.outcomes.front().kind) {
    case Outcome::Kind::kInjected:
      return Kind::kInjected;
    case Outcome::Kind::kUnchanged:
      return Kind::kUnchanged;
    case Outcome::Kind::kRefused:
      return Kind::kRefused;
    default:
      return Kind::kSkipped;
  }
}

json::object Response(const Answer& answer, const ObjectResult& result) {
  json::object response{{"uid", answer.uid}, {"allowed", answer.kind != Kind::kRefused}};
  if (answer.kind == Kind::kRefused) {
    response["status"] =
        json::object{{"code", 400}, {"reason", "BadRequest"}, {"message", answer.reason}};
  } else if (!result.patch.empty()) {
    response["patchType"] = "JSONPatch";
    response["patch"] = Base64(json::serialize(result.patch));
  }
  json::array warnings;
  for (const Outcome& outcome : result.outcomes) {
    for (const std::string& warning : outcome.warnings) {
      std::size_t size = std::min(warning.size(), kMaxWarning);
      // Do not cut inside a character.
      while (size < warning.size() && (warning[size] & 0xc0) == 0x80) --size;
      warnings.emplace_back(warning.substr(0, size));
    }
  }
  if (!warnings.empty()) response["warnings"] = std::move(warnings);
  return response;
}

}  // namespace

std::string_view NameOf(Kind kind) {
  switch (kind) {
    case Kind::kInjected:
      return "injected";
    case Kind::kUnchanged:
      return "unchanged";
    case Kind::kSkipped:
      return "skipped";
    case Kind::kRefused:
      return "refused";
    case Kind::kInvalid:
      return "invalid";
  }
  return {};
}

Answer Review(std::string_view body, const std::string& version, const Decide& decide) {
  json::error_code code;
  const json::value review =
      json::parse(body, code, {}, json::parse_options{.max_depth = yaml::kMaxDepth});
  if (code.failed()) return Invalid("the body is no JSON: " + code.message());
  const json::object* const top = review.if_object();
  if (top == nullptr || TextOf(*top, "kind") != "AdmissionReview" ||
      TextOf(*top, "apiVersion") != kVersion) {
    return Invalid("the body is not an AdmissionReview of " + std::string(kVersion));
  }
  const json::object* const request = ObjectOf(*top, "request");
  if (request == nullptr || TextOf(*request, "uid").empty()) {
    return Invalid("the AdmissionReview has no request with a uid");
  }
  Answer answer{.kind = Kind::kSkipped,
                .reason = Foreign(*request),
                .uid = std::string(TextOf(*request, "uid")),
                .name_space = std::string(TextOf(*request, "namespace"))};
  ObjectResult result;
  if (answer.reason.empty()) {
    const json::object* const object = ObjectOf(*request, "object");
    if (object == nullptr) return Invalid("the request has no object");
    result = InjectObject(*object, answer.name_space, version, decide);
    answer.kind = KindOf(result);
    if (result.outcomes.empty()) {
      answer.reason = "the object is not a Pod";
    } else {
      answer.pod = result.outcomes.front().title;
      answer.reason = result.outcomes.front().reason;
    }
  }
  answer.body = json::serialize(json::object{{"apiVersion", kVersion},
                                             {"kind", "AdmissionReview"},
                                             {"response", Response(answer, result)}});
  return answer;
}

}  // namespace sluice::inject::webhook
