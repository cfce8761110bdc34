// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/setting_reader.h"

#include <limits>

#include "base/duration.h"
#include "capture/settings/account_names.h"

namespace sluice::capture {
namespace {

constexpr std::uint64_t kMaxId = std::numeric_limits<std::uint32_t>::max() - 1;  // -1 is "no id"

// Digits are always an id, even if an account has that name: no real name begins with a digit.
bool IsNumber(std::string_view text) { return text.front() >= '0' && text.front() <= '9'; }

// `text` is not empty.
std::uint32_t UserId(std::string_view text) {
  if (IsNumber(text)) return static_cast<std::uint32_t>(ParseNumber(text, 0, kMaxId));
  if (const auto uid = FindUser(std::string(text))) return *uid;
  throw std::invalid_argument("a number, or the name of a user in /etc/passwd");
}

std::uint32_t GroupId(std::string_view text) {
  if (IsNumber(text)) return static_cast<std::uint32_t>(ParseNumber(text, 0, kMaxId));
  if (const auto gid = FindGroup(std::string(text))) return *gid;
  throw std::invalid_argument("a number, or the name of a group in /etc/group");
}

}  // namespace

std::uint16_t SettingReader::Port(std::string_view name) const {
  return Value(name, [](std::string_view text) {
    return static_cast<std::uint16_t>(ParseNumber(Trim(text), 1, 65535));
  });
}

std::uint32_t SettingReader::Number(std::string_view name, std::uint64_t min,
                                    std::uint64_t max) const {
  return Value(name, [=](std::string_view text) {
    return static_cast<std::uint32_t>(ParseNumber(Trim(text), min, max));
  });
}

std::chrono::milliseconds SettingReader::Duration(std::string_view name,
                                                  std::chrono::hours max) const {
  return Value(name, [=](std::string_view text) { return ParseDuration(Trim(text), max); });
}

std::vector<PortRange> SettingReader::Ports(std::string_view name) const {
  return Coalesce(List(name, PortRange::Parse));
}

std::vector<Cidr> SettingReader::Ranges(std::string_view name) const {
  return Aggregate(List(name, Cidr::Parse));
}

std::vector<std::uint32_t> SettingReader::Uids(std::string_view name) const {
  return UniqueList(name, UserId);
}

std::vector<std::uint32_t> SettingReader::Gids(std::string_view name) const {
  return UniqueList(name, GroupId);
}

std::vector<std::string> SettingReader::Interfaces(std::string_view name) const {
  return UniqueList(name, [](std::string_view text) {
    const bool bad_character = std::ranges::any_of(text, [](char c) {
      // Quotes are special to iptables-restore, which reads the output of --dry-run.
      return std::string_view("/:\"'\\").find(c) != std::string_view::npos || c <= ' ' || c == 0x7f;
    });
    if (text.size() > 15 || bad_character || text == "." || text == ".." || text == "+") {
      throw std::invalid_argument(
          "an interface name of up to 15 characters, without quotes, such as eth0 or eth+");
    }
    return std::string(text);
  });
}

}  // namespace sluice::capture
