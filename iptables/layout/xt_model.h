// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/ip_address.h"
#include "capture/explain/model.h"

namespace sluice::iptables {

// The rule of an entry, no matter who wrote it: the matches and targets that kube-proxy, Docker,
// firewalld and people write with iptables-legacy. Unknown parts become an UnknownTest or an
// UnknownAction. `target` is as in xt_entry.h. Any bytes are safe.
capture::explain::ModelRule DecodeModelRule(std::span<const std::byte> entry,
                                            std::string_view target, Family family);

// The same for a single match or target, as iptables-nft passes it to nf_tables. Nothing if it is
// not known.
std::optional<capture::explain::Extension> DecodeExtension(bool target, std::string_view name,
                                                           int revision,
                                                           std::span<const std::uint8_t> info,
                                                           Family family);

}  // namespace sluice::iptables
