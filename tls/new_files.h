// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace sluice::tls {

struct FileText {
  std::string name;
  std::string_view text;
  ::mode_t mode;
};

// Writes `files` into `directory`, which is made if it is missing. A reader sees a file whole or
// not at all, and each with its mode from the beginning. All are written to the disk before the
// first one gets its name; on failure before that nothing has changed. Throws sluice::Error, also
// when a file of such a name exists, unless `overwrite`.
void WriteNewFiles(const std::string& directory, const std::vector<FileText>& files,
                   bool overwrite);

}  // namespace sluice::tls
