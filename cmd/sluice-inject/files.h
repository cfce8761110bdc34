// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::inject {

// The contents of a file; "-" is standard input. Throws Error.
std::string ReadText(const std::string& path);

// Replaces a file atomically: readers see the old text or the new one. Keeps its mode; a link stays
// a link. Throws Error, and the file is then unchanged.
void ReplaceText(const std::string& path, std::string_view text);

// Files are returned as they are; for a directory, its manifests (*.yaml, *.yml, *.json), sorted by
// name. Throws Error.
std::vector<std::string> ManifestsOf(const std::vector<std::string>& paths);

}  // namespace sluice::inject
