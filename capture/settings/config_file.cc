// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/config_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>

#include <boost/json.hpp>

#include "base/error.h"
#include "base/unique_fd.h"
#include "capture/settings/option_table.h"

namespace sluice::capture {
namespace {

namespace json = boost::json;

// A configuration is a page of text; what is larger is a mistake (a wrong path, a device).
constexpr std::size_t kMaxBytes = 4 << 20;

[[noreturn]] void Refuse(const std::string& path, std::string why, std::string help = {}) {
  throw Error(ErrorKind::kUsage, {.doing = "read the configuration file",
                                  .target = path,
                                  .why = std::move(why),
                                  .help = std::move(help)});
}

std::string Scalar(const json::value& value, const std::string& key, const std::string& path) {
  if (value.is_string()) return std::string(value.as_string());
  if (value.is_int64() || value.is_uint64()) return json::serialize(value);
  Refuse(path, "the value of \"" + key + "\" is " + json::serialize(value),
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

// Boost keeps the last of equal keys and says nothing. `text` is an object that parses. Returns the
// first key of it that is there twice.
std::optional<std::string> RepeatedKey(std::string_view text) {
  std::set<std::string> keys;
  std::string_view last_string;
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    switch (text[i]) {
      case '"': {
        const std::size_t start = i++;
        for (; text[i] != '"'; ++i) i += text[i] == '\\' ? 1 : 0;
        last_string = text.substr(start, i + 1 - start);
        break;
      }
      case '{':
      case '[':
        ++depth;
        break;
      case '}':
      case ']':
        --depth;
        break;
      case ':': {
        if (depth != 1) break;
        std::string key(json::parse(last_string).as_string());
        if (!keys.insert(key).second) return key;
        break;
      }
      default:
        break;
    }
  }
  return {};
}

}  // namespace

std::map<std::string, Setting> ParseConfig(std::string_view text, const std::string& path) {
  json::error_code code;
  // A bound on nesting, so that no file can exhaust the stack.
  const json::value parsed = json::parse(text, code, {}, {.max_depth = 4});
  if (code) Refuse(path, "not JSON: " + code.message());
  if (!parsed.is_object()) Refuse(path, "expected one JSON object with flag names as keys");
  if (const auto key = RepeatedKey(text)) Refuse(path, "\"" + *key + "\" is there twice");
  std::map<std::string, Setting> out;
  for (const auto& [key, value] : parsed.as_object()) {
    const std::string name(key);
    const OptionSpec* option = FindOption(name);
    if (option == nullptr) Refuse(path, "there is no flag \"" + name + "\"", "see --help");
    if (name == "config") Refuse(path, "a configuration file cannot name another one");
    out[name] = {Text(value, name, path), "\"" + name + "\" in " + path};
  }
  return out;
}

std::map<std::string, Setting> ReadConfigFile(const std::string& path) {
  // Without waiting for whoever writes, if it is a FIFO.
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file || fstat(file.get(), &status) != 0) Refuse(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) Refuse(path, "it is not a regular file");
  std::string text;
  std::array<char, 16 << 10> part;
  ssize_t size = 0;
  do {
    size = read(file.get(), part.data(), part.size());
    if (size < 0) Refuse(path, std::strerror(errno));
    text.append(part.data(), static_cast<std::size_t>(size));
  } while (size > 0 && text.size() <= kMaxBytes);
  if (text.size() > kMaxBytes) Refuse(path, "it is larger than 4 MiB");
  return ParseConfig(text, path);
}

}  // namespace sluice::capture
