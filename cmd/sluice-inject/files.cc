// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-inject/files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/os/new_file.h"
#include "base/os/read_all.h"

namespace sluice::inject {

std::string ReadText(const std::string& path) {
  std::string text;
  const int error = ReadFile(path, text);
  if (error != 0) throw SystemError(error, "read the file", path);
  return text;
}

void ReplaceText(const std::string& path, std::string_view text) {
  std::error_code code;
  const std::string real = std::filesystem::canonical(path, code).string();
  if (code) throw SystemError(code.value(), "write the file", path);
  struct stat status {};
  if (::stat(real.c_str(), &status) != 0) throw SystemError(errno, "write the file", path);
  NewFile file(real);
  file.Write(text);
  file.SetOwner(status.st_uid, status.st_gid);
  file.SetMode(status.st_mode & 07777);
  file.Sync();
  file.Replace();
}

std::vector<std::string> ManifestsOf(const std::vector<std::string>& paths) {
  std::vector<std::string> out;
  for (const std::string& path : paths) {
    std::error_code code;
    if (path == "-" || !std::filesystem::is_directory(path, code)) {
      out.push_back(path);
      continue;
    }
    std::vector<std::string> found;
    for (std::filesystem::directory_iterator each(path, code), end; !code && each != end;
         each.increment(code)) {
      const std::string ending = each->path().extension().string();
      std::error_code ignored;
      if ((ending == ".yaml" || ending == ".yml" || ending == ".json") &&
          !each->is_directory(ignored)) {
        found.push_back(each->path().string());
      }
    }
    if (code) throw SystemError(code.value(), "read the directory", path);
    std::ranges::sort(found);
    out.insert(out.end(), found.begin(), found.end());
  }
  return out;
}

}  // namespace sluice::inject
