// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/account_names.h"

#include <grp.h>
#include <pwd.h>

#include <cstdio>
#include <memory>

namespace sluice::capture {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

}  // namespace

std::optional<std::uint32_t> FindUser(const std::string& name) {
  const File file(std::fopen("/etc/passwd", "re"), std::fclose);
  if (!file) return {};
  while (const passwd* entry = fgetpwent(file.get())) {
    if (name == entry->pw_name) return entry->pw_uid;
  }
  return {};
}

std::optional<std::uint32_t> FindGroup(const std::string& name) {
  const File file(std::fopen("/etc/group", "re"), std::fclose);
  if (!file) return {};
  while (const group* entry = fgetgrent(file.get())) {
    if (name == entry->gr_name) return entry->gr_gid;
  }
  return {};
}

}  // namespace sluice::capture
