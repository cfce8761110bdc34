// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// `bytes` in base64 (RFC 4648, section 4), with padding and without line ends.
std::string Base64(std::string_view bytes);

}  // namespace sluice
