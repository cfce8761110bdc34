// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/os/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/error.h"

namespace sluice {
namespace {

// A hidden name, which programs that read whole directories pass over.
std::string TemporaryName(const std::string& path) {
  const std::size_t name = path.rfind('/') + 1;
  return path.substr(0, name) + "." + path.substr(name) + ".XXXXXX";
}

}  // namespace

NewFile::NewFile(std::string path) : path_(std::move(path)), temporary_(TemporaryName(path_)) {
  fd_.reset(::mkostemp(temporary_.data(), O_CLOEXEC));
  if (!fd_) Fail();
}

NewFile::~NewFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

NewFile::NewFile(NewFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)) {}

void NewFile::Fail() const { throw SystemError(errno, "write the file", path_); }

void NewFile::Write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd_.get(), text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail();
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

void NewFile::SetMode(::mode_t mode) {
  if (::fchmod(fd_.get(), mode) != 0) Fail();
}

void NewFile::SetOwner(::uid_t user, ::gid_t group) {
  if (::fchown(fd_.get(), user, group) != 0 && errno != EPERM) Fail();
}

void NewFile::Sync() {
  if (::fsync(fd_.get()) != 0) Fail();
}

void NewFile::Replace() {
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) Fail();
  temporary_.clear();
}

void NewFile::Create() {
  if (::link(temporary_.c_str(), path_.c_str()) != 0) Fail();
}

}  // namespace sluice
