// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "capture/explain/model.h"
#include "nftables/model/ruleset.h"

// nf_tables' rules in the form of the model, no matter who wrote them. Pure; accepts any bytes.
namespace sluice::nftables {

// Decodes an x_tables match or target that iptables-nft wrote. Nothing if it is not known.
using ExtensionDecoder = std::function<std::optional<capture::explain::Extension>(
    bool target, std::string_view name, int revision, std::span<const std::uint8_t> info,
    Family family)>;

// Adds everything in `ruleset` that IPv4 and IPv6 packets meet. The caller must call
// `capture::explain::Finish`.
void AddModel(const Ruleset& ruleset, const ExtensionDecoder& extensions,
              capture::explain::Model& model);

// What would be installed; `rules` must be compiled (NftablesBackend::Compile).
capture::explain::Model PlannedModel(const capture::RuleSet& rules);

}  // namespace sluice::nftables
