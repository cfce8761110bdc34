// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/standard_output.h"

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

}  // namespace sluice
