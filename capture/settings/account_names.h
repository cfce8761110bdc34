// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sluice::capture {

// The id of a name in /etc/passwd or /etc/group; nothing when it is not there. Reads only the files
// and does not use NSS: an init container has no other source, and NSS loads libraries and may use
// the network.
std::optional<std::uint32_t> FindUser(const std::string& name);
std::optional<std::uint32_t> FindGroup(const std::string& name);

}  // namespace sluice::capture
