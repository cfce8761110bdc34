// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdio>
#include <string>

namespace sluice::cni {

// Writes a line to standard error, which runtimes put into their log.
inline void Say(const std::string& line) { std::fprintf(stderr, "sluice-cni: %s\n", line.c_str()); }

}  // namespace sluice::cni
