// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/os/resolv_conf.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>

#include "base/error.h"
#include "base/ip_address.h"

namespace sluice {
namespace {

constexpr std::size_t kMaxResolvers = 8;  // each dead one costs a timeout
constexpr std::uint16_t kDnsPort = 53;
constexpr int kMaxTimeout = 30;  // RES_MAXRETRANS in <resolv.h>
constexpr int kMaxAttempts = 5;  // RES_MAXRETRY
constexpr std::string_view kBlank = " \t\r\f\v";

// The next word of `text`, which then starts after it; "" at the end.
std::string_view NextWord(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(kBlank));
  text.remove_prefix(word.size());
  return word;
}

std::optional<Nameserver> ParseNameserver(std::string_view text) {
  const auto percent = text.find('%');
  Nameserver out;
  try {
    out.address = {IpAddress::Parse(text.substr(0, percent)), kDnsPort};
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
  if (percent == std::string_view::npos) return out;
  if (out.address.ip.is_v4()) return std::nullopt;
  out.scope = text.substr(percent + 1);
  return out;
}

// The number in "`name`:N", limited to [1, `max`]; `old` when `option` is a different one.
int OptionOr(int old, std::string_view option, std::string_view name, int max) {
  if (!option.starts_with(name)) return old;
  option.remove_prefix(name.size());
  int value = 0;
  const auto [stopped, code] = std::from_chars(option.data(), option.data() + option.size(), value);
  if (code == std::errc::result_out_of_range) return max;
  return code == std::errc{} && value >= 0 ? std::clamp(value, 1, max) : old;
}

void ParseLine(std::string_view line, ResolvConf& out) {
  const std::string_view keyword = NextWord(line);
  if (keyword == "nameserver") {
    const auto resolver = ParseNameserver(NextWord(line));
    if (resolver && out.nameservers.size() < kMaxResolvers) out.nameservers.push_back(*resolver);
  } else if (keyword == "options") {
    for (std::string_view word = NextWord(line); !word.empty(); word = NextWord(line)) {
      out.timeout = std::chrono::seconds(
          OptionOr(static_cast<int>(out.timeout.count()), word, "timeout:", kMaxTimeout));
      out.attempts = OptionOr(out.attempts, word, "attempts:", kMaxAttempts);
    }
  }
}

}  // namespace

ResolvConf ParseResolvConf(std::string_view text) {
  ResolvConf out;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ParseLine(line, out);
  }
  return out;
}

ResolvConf ReadResolvConf(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    throw SystemError(errno, "read the resolvers", path,
                      "the file must be readable by the user of this program");
  }
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return ParseResolvConf(text);
}

}  // namespace sluice
