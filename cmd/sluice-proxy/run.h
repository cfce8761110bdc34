// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "cmd/sluice-proxy/options.h"

namespace sluice::proxy {

// Runs the proxy until it has been told to end and has drained. Throws sluice::Error.
void Run(const Options& options);

}  // namespace sluice::proxy
