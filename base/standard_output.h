// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string_view>

namespace sluice {

// Writes all of `text` to standard output now. Throws Error (kFailed) when it cannot: output cut
// short by a full disk must not look complete.
void WriteOutput(std::string_view text);

// The same for output already written with stdio, or with std::cout, which keeps nothing back.
void FlushOutput();

// Takes the numbers 0 to 2 if the parent has closed them, so that no socket or file of this program
// gets one, and with it the program's output or messages. Reading and writing there fails as
// before. Call first in main.
void ReserveStandardDescriptors();

}  // namespace sluice
