// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-cni/conflist.h"

#include <boost/json.hpp>

#include "base/text/json_document.h"
#include "base/text/pretty_json.h"

namespace sluice::cni {
namespace {

namespace json = boost::json;

constexpr std::string_view kType = "sluice-cni";

std::optional<json::object> Parse(std::string_view text) {
  std::optional<JsonFault> fault;
  json::value value = ParseJson(text, 64, fault);
  if (fault || !value.is_object()) return {};
  return std::move(value.get_object());
}

json::array* PluginsOf(json::object& config) {
  json::value* const plugins = config.if_contains("plugins");
  return plugins == nullptr ? nullptr : plugins->if_array();
}

bool IsOurPlugin(const json::value& plugin) {
  const json::object* const object = plugin.if_object();
  const json::value* const type = object == nullptr ? nullptr : object->if_contains("type");
  return type != nullptr && type->is_string() && type->get_string() == kType;
}

json::object Plugin() {
  return {{"type", kType},
          {"capabilities", {{"io.kubernetes.cri.pod-annotations", true}, {"dns", true}}}};
}

}  // namespace

bool IsConfiguration(std::string_view text, bool list) {
  auto config = Parse(text);
  if (!config) return false;
  return list ? PluginsOf(*config) != nullptr && !PluginsOf(*config)->empty()
              : config->contains("type");
}

std::optional<std::string> WithPlugin(std::string_view text) {
  auto config = Parse(text);
  if (!config) return {};
  json::array* const plugins = PluginsOf(*config);
  if (plugins == nullptr) {
    json::object list;
    for (const char* const key : {"cniVersion", "name"}) {
      if (const json::value* const value = config->if_contains(key)) list[key] = *value;
    }
    list["plugins"] = json::array{*config, Plugin()};
    return PrettyJson(list);
  }
  // Unchanged: somebody may have added settings.
  if (!plugins->empty() && IsOurPlugin(plugins->back())) return {};
  json::value ours = Plugin();
  for (auto each = plugins->begin(); each != plugins->end();) {
    if (IsOurPlugin(*each)) {
      ours = *each;
      each = plugins->erase(each);
    } else {
      ++each;
    }
  }
  plugins->push_back(std::move(ours));
  return PrettyJson(*config);
}

std::optional<std::string> WithoutPlugin(std::string_view text) {
  auto config = Parse(text);
  json::array* const plugins = config ? PluginsOf(*config) : nullptr;
  if (plugins == nullptr) return {};
  bool found = false;
  for (auto each = plugins->begin(); each != plugins->end();) {
    const bool ours = IsOurPlugin(*each);
    found |= ours;
    each = ours ? plugins->erase(each) : each + 1;
  }
  if (!found) return {};
  return PrettyJson(*config);
}

}  // namespace sluice::cni
