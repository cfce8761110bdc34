// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "capture/explain/model.h"
#include "nftables/ruleset.h"

// nf_tables' rules, whoever wrote them, as the walk takes them. Pure; takes any bytes.
namespace sluice::nftables {

// Decodes what iptables-nft writes: a match or a target of x_tables. Nothing for what is not known.
using ExtensionDecoder = std::function<std::optional<capture::explain::Extension>(
    bool target, std::string_view name, int revision, std::span<const std::uint8_t> info,
    Family family)>;

// Adds all of `ruleset` that packets of IPv4 and IPv6 meet. `capture::explain::Finish` is left to
// the caller.
void AddModel(const Ruleset& ruleset, const ExtensionDecoder& extensions,
              capture::explain::Model& model);

// What would be installed; `rules` as NftablesBackend::Compile makes them.
capture::explain::Model PlannedModel(const capture::RuleSet& rules);

}  // namespace sluice::nftables
