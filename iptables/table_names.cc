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
namespace {

// The thread's file, not the process's: the thread may have entered another namespace. For the
// first thread they are the same, and /proc/self saves two entries of /proc, which are created for
// each process.
std::string PathOf(Family family) {
  return std::string(gettid() == getpid() ? "/proc/self" : "/proc/thread-self") +
         (family == Family::kIpv4 ? "/net/ip_tables_names" : "/net/ip6_tables_names");
}

}  // namespace

NamesFile FindNames(Family family) {
  if (access(PathOf(family).c_str(), R_OK) == 0) return NamesFile::kReadable;
  return errno == ENOENT ? NamesFile::kMissing : NamesFile::kUnreadable;
}

bool TableNames::Has(Family family, std::string_view table) {
  const bool v4 = family == Family::kIpv4;
  std::optional<Names>& names = v4 ? v4_ : v6_;
  if (!names) {
    names = Names{.known = true, .lines = {}};
    const UniqueFd file(open(PathOf(family).c_str(), O_RDONLY | O_CLOEXEC));
    // The kernel has five tables of at most eight letters.
    std::array<char, 256> text;
    const ssize_t size = file ? read(file.get(), text.data(), text.size()) : -1;
    if (size >= 0) names->lines = "\n" + std::string(text.data(), static_cast<std::size_t>(size));
    // Without this file the family has no x_tables, and so no tables.
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
