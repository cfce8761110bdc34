// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/config_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <vector>

#include <boost/json.hpp>

#include "base/error.h"
#include "base/os/read_all.h"
#include "base/text/json_document.h"
#include "base/text/suggest.h"
#include "base/unique_fd.h"
#include "capture/settings/option_table.h"

namespace sluice::capture {
namespace {

namespace json = boost::json;

// A configuration is a page of text; a larger file is a mistake (a wrong path, a device).
constexpr std::size_t kMaxBytes = 4 << 20;

[[noreturn]] void RefuseFile(const std::string& path, std::string why, std::string help = {}) {
  throw Error(ErrorKind::kUsage, {.doing = "read the configuration file",
                                  .target = path,
                                  .why = std::move(why),
                                  .help = std::move(help)});
}

std::string Scalar(const json::value& value, const std::string& key, const std::string& path) {
  if (value.is_string()) return std::string(value.as_string());
  if (value.is_int64() || value.is_uint64()) return json::serialize(value);
  RefuseFile(path, "the value of \"" + key + "\" is " + json::serialize(value),
             "expected a string, a whole number, true or false, or a list of strings and numbers");
}

std::string Text(const json::value& value, const std::string& key, const std::string& path) {
  if (value.is_bool()) return value.as_bool() ? "true" : "false";
  if (!value.is_array()) return Scalar(value, key, path);
  std::string out;
  for (const json::value& item : value.as_array()) {
    if (!out.empty()) out += ",";
    out += Scalar(item, key, path);
  }
  return out;
}

// Where an outermost key stands, for messages: "pod.json:3:7".
struct Keys {
  std::string_view text;
  std::string path;
  std::vector<JsonMember> members;

  std::string At(std::size_t offset) const { return path + ":" + LineAndColumn(text, offset); }
  std::string Of(std::string_view key) const {
    return At(std::ranges::find(members, key, &JsonMember::key)->offset);
  }
};

// With a repeated key nobody can tell by looking which one counts.
void RefuseRepeated(const Keys& keys) {
  std::set<std::string_view> seen;
  for (const JsonMember& member : keys.members) {
    if (seen.insert(member.key).second) continue;
    RefuseFile(keys.At(member.offset), "\"" + member.key + "\" is there twice");
  }
}

}  // namespace

std::map<std::string, Setting> ParseConfig(std::string_view text, const std::string& path) {
  std::optional<JsonFault> fault;
  // Limits the nesting, so that no file can exhaust the stack.
  const json::value parsed = ParseJson(text, 4, fault);
  if (fault) {
    RefuseFile(path + ":" + LineAndColumn(text, fault->offset), "not JSON: " + fault->why);
  }
  if (!parsed.is_object()) RefuseFile(path, "expected one JSON object with flag names as keys");
  const Keys keys{text, path, OutermostMembers(text)};
  RefuseRepeated(keys);
  std::map<std::string, Setting> out;
  for (const auto& [key, value] : parsed.as_object()) {
    const std::string name(key);
    const OptionSpec* option = FindOption(name);
    if (option == nullptr) {
      RefuseFile(keys.Of(name), "there is no flag \"" + name + "\"",
                 SuggestWord(name, OptionNames(), "see --help"));
    }
    if (name == "config") RefuseFile(keys.Of(name), "a configuration file cannot name another one");
    const std::string place = keys.Of(name);
    out[name] = {Text(value, name, place), "\"" + name + "\" in " + place};
  }
  return out;
}

std::map<std::string, Setting> ReadConfigFile(const std::string& path) {
  // If it is a FIFO, do not wait for a writer.
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file || fstat(file.get(), &status) != 0) RefuseFile(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) RefuseFile(path, "it is not a regular file");
  std::string text;
  if (const int error = ReadAll(file.get(), text, kMaxBytes))
    RefuseFile(path, std::strerror(error));
  if (text.size() > kMaxBytes) RefuseFile(path, "it is larger than 4 MiB");
  return ParseConfig(text, path);
}

}  // namespace sluice::capture
