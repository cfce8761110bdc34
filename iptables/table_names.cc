// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "base/unique_fd.h"
#include "iptables/xtables.h"

namespace sluice::iptables {

bool TableNames::Has(Family family, std::string_view table) {
  const bool v4 = family == Family::kIpv4;
  std::optional<Names>& names = v4 ? v4_ : v6_;
  if (!names) {
    names = Names{.known = true, .lines = {}};
    // Of the thread, not of the process: it may have entered a namespace by itself. For the first
    // thread the two are one, and its path is the shorter by two entries of /proc, made for each
    // process.
    const std::string directory = gettid() == getpid() ? "/proc/self" : "/proc/thread-self";
    const UniqueFd file(
        open((directory + (v4 ? "/net/ip_tables_names" : "/net/ip6_tables_names")).c_str(),
             O_RDONLY | O_CLOEXEC));
    // The kernel has five tables of at most eight letters.
    std::array<char, 256> text;
    const ssize_t size = file ? read(file.get(), text.data(), text.size()) : -1;
    if (size >= 0) names->lines = "\n" + std::string(text.data(), static_cast<std::size_t>(size));
    // Without that file there is no x_tables for the family, so no table.
    names->known = size >= 0 || errno == ENOENT;
  }
  return !names->known || names->lines.find("\n" + std::string(table) + "\n") != std::string::npos;
}

bool TableNames::Knows(Family family) {
  Has(family, std::string_view());
  return (family == Family::kIpv4 ? v4_ : v6_)->known;
}

bool TableNames::HasAny(Family family) {
  return std::ranges::any_of(capture::kTables,
                             [&](capture::Table table) { return Has(family, table); });
}

void TableNames::Forget() {
  v4_.reset();
  v6_.reset();
}

}  // namespace sluice::iptables
