// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/mtls/file_watch.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <utility>

namespace sluice::proxy {
namespace {

// That an entry of a directory is another one now, or has other bytes or another mode.
constexpr std::uint32_t kContent =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB;
constexpr std::uint32_t kItself = IN_MOVE_SELF | IN_DELETE_SELF;
// As many as the kernel follows (path_resolution(7)).
constexpr int kMostLinks = 40;

// The names of a path, the last one first.
void AppendNames(const std::string& path, std::vector<std::string>& out) {
  const std::filesystem::path split(path);
  const std::vector<std::filesystem::path> names(split.begin(), split.end());
  std::transform(names.rbegin(), names.rend(), std::back_inserter(out),
                 [](const auto& name) { return name.string(); });
}

// Where other machines, or a program of its own, change files without an event here.
bool IsRemote(const std::string& directory) {
  constexpr std::array<std::uint32_t, 7> kRemote = {
      NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
      CEPH_SUPER_MAGIC, FUSE_SUPER_MAGIC, V9FS_MAGIC};
  struct statfs info {};
  if (::statfs(directory.c_str(), &info) != 0) return false;
  const auto type = static_cast<std::uint32_t>(info.f_type);
  return std::ranges::find(kRemote, type) != kRemote.end();
}

}  // namespace

FileWatch::FileWatch(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) paths_.push_back(std::filesystem::absolute(path).string());
}

bool FileWatch::Arm() {
  why_.clear();
  if (!fd_) fd_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd_) {
    why_ = std::string("inotify_init1: ") + std::strerror(errno);
    return false;
  }
  needed_.clear();
  for (const std::string& path : paths_) Walk(path);
  for (const int watch : watches_) {
    if (!needed_.contains(watch)) ::inotify_rm_watch(fd_.get(), watch);
  }
  watches_ = std::move(needed_);
  if (why_.empty()) {
    ForgetEvents();
    return true;
  }
  // Nobody waits for it; another proxy may need the instance.
  fd_.reset();
  watches_.clear();
  return false;
}

void FileWatch::Walk(const std::string& path) {
  std::string directory = "/";  // without symbolic links
  std::vector<std::string> names;
  AppendNames(path, names);
  int links = 0;
  while (!names.empty()) {
    const std::string name = std::move(names.back());
    names.pop_back();
    if (name.empty() || name == ".") continue;
    if (name == "/") {
      directory = name;
      continue;
    }
    if (name == "..") {
      directory = std::filesystem::path(directory).parent_path().string();
      continue;
    }
    const std::string next = directory + (directory == "/" ? "" : "/") + name;
    std::array<char, PATH_MAX> target;
    const ssize_t size = ::readlinkat(AT_FDCWD, next.c_str(), target.data(), target.size());
    if (size >= 0) {
      Watch(directory, kContent | kItself);
      if (++links > kMostLinks) return;
      AppendNames(std::string(target.data(), static_cast<std::size_t>(size)), names);
    } else if (errno == EINVAL) {  // it is there, and no symbolic link
      if (names.empty()) {
        Watch(directory, kContent | kItself);
      } else {
        Watch(next, kItself);
      }
      directory = next;
    } else {
      Watch(directory, kContent | kItself);
      return;
    }
  }
}

void FileWatch::Watch(const std::string& directory, std::uint32_t events) {
  const int watch =
      ::inotify_add_watch(fd_.get(), directory.c_str(), events | IN_MASK_ADD | IN_ONLYDIR);
  if (watch >= 0) {
    needed_.insert(watch);
    if (IsRemote(directory)) why_ = directory + " is on a file system that others change";
  } else if (errno == ENOENT || errno == ENOTDIR) {
    // It has gone since, which the directory before it tells.
  } else if (errno == EACCES && events == kItself) {
    // One that may be passed and not read; it is hardly ever moved.
  } else {
    why_ = "inotify_add_watch: " + directory + ": " + std::strerror(errno);
  }
}

void FileWatch::ForgetEvents() const {
  alignas(inotify_event) std::array<char, 4096> buffer;
  while (::read(fd_.get(), buffer.data(), buffer.size()) > 0) {
  }
}

}  // namespace sluice::proxy
