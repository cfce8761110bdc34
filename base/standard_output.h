// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string_view>

namespace sluice {

// Writes all of `text` to standard output, at once. Throws Error (kFailed) when it cannot: a full
// disk must not look like an answer.
void WriteOutput(std::string_view text);

// The same for what was written with std::cout or stdio before.
void FlushOutput();

}  // namespace sluice
