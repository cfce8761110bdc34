// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/new_files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sluice::tls {
namespace {

constexpr const char* kDoing = "write the file";

// A file under a temporary name, which goes with this object.
class Part {
 public:
  Part(const std::string& directory, const NewFile& file)
      : path_(directory + "/" + file.name), temporary_(directory + "/." + file.name + ".XXXXXX") {
    const UniqueFd fd(::mkostemp(temporary_.data(), O_CLOEXEC));  // of mode 0600
    if (!fd) {
      const int why = errno;
      temporary_.clear();
      throw SystemError(why, kDoing, path_);
    }
    Fill(fd.get(), file);
  }
  ~Part() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  Part(Part&& other) noexcept
      : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})) {}
  Part& operator=(Part&&) = delete;

  void Publish(bool overwrite) {
    if (overwrite) {
      if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw SystemError(errno, kDoing, path_);
      temporary_.clear();
    } else if (::link(temporary_.c_str(), path_.c_str()) != 0) {
      throw SystemError(errno, kDoing, path_);
    }
  }

 private:
  void Fill(int fd, const NewFile& file) {
    std::string_view rest = file.text;
    while (!rest.empty()) {
      const ssize_t count = ::write(fd, rest.data(), rest.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) Fail();
      rest.remove_prefix(static_cast<std::size_t>(count));
    }
    if (::fchmod(fd, file.mode) != 0 || ::fsync(fd) != 0) Fail();
  }
  // Out of the constructor, so that there is no destructor to remove the file.
  [[noreturn]] void Fail() {
    const int why = errno;
    ::unlink(temporary_.c_str());
    throw SystemError(why, kDoing, path_);
  }

  std::string path_;
  std::string temporary_;
};

}  // namespace

void WriteNewFiles(const std::string& directory, const std::vector<NewFile>& files,
                   bool overwrite) {
  if (::mkdir(directory.c_str(), 0777) != 0 && errno != EEXIST) {
    throw SystemError(errno, "make the directory", directory);
  }
  for (const NewFile& file : files) {
    const std::string path = directory + "/" + file.name;
    struct stat status {};
    if (overwrite || ::lstat(path.c_str(), &status) != 0) continue;
    throw Error(ErrorKind::kFailed, {.doing = kDoing,
                                     .target = path,
                                     .why = "it exists",
                                     .help = "choose another directory, or overwrite it"});
  }
  std::vector<Part> parts;
  parts.reserve(files.size());
  for (const NewFile& file : files) parts.emplace_back(directory, file);
  for (Part& part : parts) part.Publish(overwrite);
}

}  // namespace sluice::tls
