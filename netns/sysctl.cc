// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sluice::netns {
namespace {

std::string PathOf(std::string_view name) { return "/proc/sys/net/" + std::string(name); }

Error Failure(int saved_errno, std::string doing, const std::string& path) {
  if (saved_errno == ENOENT) {
    return Error(ErrorKind::kKernelFeature, {.doing = std::move(doing),
                                             .target = path,
                                             .why = "this kernel has no such setting",
                                             .help = ""});
  }
  const bool privilege = saved_errno == EPERM || saved_errno == EACCES || saved_errno == EROFS;
  return SystemError(
      saved_errno, std::move(doing), path,
      privilege ? "this needs CAP_NET_ADMIN and a /proc/sys that can be written" : "");
}

}  // namespace

std::string ReadSysctl(std::string_view name) {
  const std::string path = PathOf(name);
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 4096> text;  // the kernel limits settings to a page
  const ssize_t length = file ? read(file.get(), text.data(), text.size()) : -1;
  if (length < 0) throw Failure(errno, "read a kernel setting", path);
  std::string out(text.data(), static_cast<std::size_t>(length));
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

void WriteSysctl(std::string_view name, std::string_view value) {
  const std::string path = PathOf(name);
  const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || write(file.get(), value.data(), value.size()) < 0) {
    throw Failure(errno, "set a kernel setting to " + std::string(value), path);
  }
}

}  // namespace sluice::netns
