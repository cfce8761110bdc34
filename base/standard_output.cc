// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/standard_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/error.h"

namespace sluice {

void WriteOutput(std::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written) throw SystemError(errno, "write the output", "standard output");
  FlushOutput();
}

void FlushOutput() {
  errno = 0;
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw SystemError(errno == 0 ? EIO : errno, "write the output", "standard output");
  }
}

void ReserveStandardDescriptors() {
  for (const int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest free number is this one. O_PATH needs no device or permission, and such a
    // descriptor can neither be read nor written.
    if (::fcntl(number, F_GETFD) < 0) ::open("/", O_PATH);
  }
}

}  // namespace sluice
