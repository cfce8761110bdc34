// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::inject {

// All of a file; "-" is standard input. Throws Error.
std::string ReadText(const std::string& path);

// Writes the file anew, at once: whoever reads it sees the old text or the new one. It keeps its
// mode; a link stays one. Throws Error, and the file is as it was.
void ReplaceText(const std::string& path, std::string_view text);

// Files as they are; a directory as the manifests in it (*.yaml, *.yml, *.json), by their names.
// Throws Error.
std::vector<std::string> ManifestsOf(const std::vector<std::string>& paths);

}  // namespace sluice::inject
