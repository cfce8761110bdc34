// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "base/text/program_text.h"

namespace sluice::proxy {

// The verb `certificate`: makes a workload's certificate for trying mutual TLS out, and the
// authority that signs it where there is none yet. `arguments` come after the verb. Returns what to
// print. Throws sluice::Error.
std::string MakeCertificate(const std::vector<std::string>& arguments);

// Its flags, for --help and shell completion.
OptionGroup DescribeCertificate();

}  // namespace sluice::proxy
