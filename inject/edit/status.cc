// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/edit/status.h"

#include <array>
#include <charconv>
#include <cstdint>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace sluice::inject {
namespace {

namespace json = boost::json;

// The lists and their names.
constexpr std::array<std::pair<std::string_view, std::vector<std::string> Status::*>, 6> kLists = {{
    {"annotations", &Status::annotations},
    {"labels", &Status::labels},
    {"initContainers", &Status::init_containers},
    {"containers", &Status::containers},
    {"volumes", &Status::volumes},
    {"created", &Status::created},
}};

}  // namespace

std::string WriteStatus(const Status& status) {
  json::object out{{"version", status.version}, {"original", status.original}};
  for (const auto& [name, list] : kLists) {
    if ((status.*list).empty()) continue;
    json::array& items = out[name].emplace_array();
    for (const std::string& item : status.*list) items.emplace_back(item);
  }
  if (!status.was.empty()) {
    json::object& was = out["was"].emplace_object();
    for (const auto& [member, text] : status.was) was[member] = text;
  }
  return json::serialize(out);
}

std::optional<Status> ReadStatus(std::string_view text) {
  boost::system::error_code code;
  const json::value value = json::parse(text, code);
  if (code.failed() || !value.is_object()) return {};
  const auto text_of = [](const json::value& from) -> std::string {
    return from.is_string() ? std::string(from.get_string()) : std::string();
  };
  Status status;
  for (const auto& [key, member] : value.get_object()) {
    if (key == "version") {
      status.version = text_of(member);
    } else if (key == "original") {
      status.original = text_of(member);
    } else if (key == "was") {
      if (!member.is_object()) return {};
      for (const auto& [name, was] : member.get_object()) status.was[name] = text_of(was);
    } else {
      for (const auto& [name, list] : kLists) {
        if (key != name) continue;
        if (!member.is_array()) return {};
        for (const json::value& item : member.get_array()) (status.*list).push_back(text_of(item));
      }
    }
  }
  if (status.original.empty()) return {};
  return status;
}

std::string Fingerprint(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV's offset basis and prime
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  std::array<char, 16> digits{};
  const auto [end, code] = std::to_chars(digits.data(), digits.data() + digits.size(), hash, 16);
  return std::to_string(text.size()) + "-" + std::string(digits.data(), end);
}

}  // namespace sluice::inject
