// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/os/read_all.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/unique_fd.h"

namespace sluice {

int ReadAll(int fd, std::string& text, std::size_t most) {
  std::array<char, 16 << 10> part;
  while (text.size() <= most) {
    const ssize_t size = ::read(fd, part.data(), part.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno;
    if (size == 0) return 0;
    text.append(part.data(), static_cast<std::size_t>(size));
  }
  return 0;
}

int ReadFile(const std::string& path, std::string& text) {
  if (path == "-") return ReadAll(STDIN_FILENO, text);
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return file ? ReadAll(file.get(), text) : errno;
}

}  // namespace sluice
