// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/new_files.h"

#include <sys/stat.h>

#include <cerrno>

#include "base/error.h"
#include "base/os/new_file.h"

namespace sluice::tls {
namespace {

constexpr const char* kDoing = "write the file";

}  // namespace

void WriteNewFiles(const std::string& directory, const std::vector<FileText>& files,
                   bool overwrite) {
  if (::mkdir(directory.c_str(), 0777) != 0 && errno != EEXIST) {
    throw SystemError(errno, "make the directory", directory);
  }
  for (const FileText& file : files) {
    const std::string path = directory + "/" + file.name;
    struct stat status {};
    if (overwrite || ::lstat(path.c_str(), &status) != 0) continue;
    throw Error(ErrorKind::kFailed, {.doing = kDoing,
                                     .target = path,
                                     .why = "it exists",
                                     .help = "choose another directory, or overwrite it"});
  }
  std::vector<NewFile> written;
  written.reserve(files.size());
  for (const FileText& file : files) {
    NewFile& each = written.emplace_back(directory + "/" + file.name);
    each.Write(file.text);
    each.SetMode(file.mode);
    each.Sync();
  }
  for (NewFile& file : written) overwrite ? file.Replace() : file.Create();
}

}  // namespace sluice::tls
