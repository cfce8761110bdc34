// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>

namespace sluice {

// Appends to `text` what `fd` holds, to its end or until `text` is longer than `most` bytes, so
// that a caller can tell what is too long. Returns 0, or errno of read(2) with what came before it
// in `text`.
int ReadAll(int fd, std::string& text, std::size_t most = std::string::npos);

// The same for the file at `path`, or standard input for "-". The errno may also be of open(2).
int ReadFile(const std::string& path, std::string& text);

}  // namespace sluice
