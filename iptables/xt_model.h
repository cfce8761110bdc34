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

// The rule of an entry, whoever wrote it: the matches and targets that kube-proxy, Docker,
// firewalld and people write with iptables-legacy. What is not known is in it as an UnknownTest or
// an UnknownAction. `target` is what iptc_get_target says of it. Any bytes are safe.
capture::explain::ModelRule DecodeModelRule(std::span<const std::byte> entry,
                                            std::string_view target, Family family);

// The same of one match or target alone, as iptables-nft gives it to nf_tables. Nothing for what is
// not known.
std::optional<capture::explain::Extension> DecodeExtension(bool target, std::string_view name,
                                                           int revision,
                                                           std::span<const std::uint8_t> info,
                                                           Family family);

}  // namespace sluice::iptables
