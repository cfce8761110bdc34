// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>

namespace sluice {

// "0x539", as iptables(8) and ip(8) write marks.
std::string Hex(std::uint32_t value);

}  // namespace sluice
