// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/rules_picture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/unique_fd.h"

namespace sluice::proxy {
namespace {

RulesPicture None(std::string problem) { return {.problem = std::move(problem)}; }

}  // namespace

RulesPicture ReadRulesPicture(const std::string& path) {
  // A pipe without a writer must not hold the control path up.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return None(std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return None("it is no regular file");
  std::string text(kMostPictureBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return None(std::strerror(errno));
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > kMostPictureBytes) return None("it is larger than 4 MiB");
  text.resize(size);
  constexpr std::string_view kEnd = "</svg>\n";
  if (!text.starts_with("<svg ") || !text.ends_with(kEnd)) {
    return None("it is not what sluice-init graph --output svg writes");
  }
  return {.svg = std::move(text),
          .problem = {},
          .unix_ms = info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1'000'000};
}

}  // namespace sluice::proxy
