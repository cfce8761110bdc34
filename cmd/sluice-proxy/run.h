#pragma once

#include "cmd/sluice-proxy/options.h"

namespace sluice::proxy {

// Runs the proxy until it is told to end and has drained. Throws sluice::Error.
void Run(const Options& options);

}  // namespace sluice::proxy
