// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::cni {

// Network configurations as in /etc/cni/net.d. Members keep their order, and unknown members are
// kept.

// Whether `text` is a list of plugins or, if `list` is false, a single plugin.
bool IsConfiguration(std::string_view text, bool list);

// The list with our plugin as the last one; a single plugin becomes a list of two. `text` is such a
// configuration. Nothing if our plugin is already in place.
std::optional<std::string> WithPlugin(std::string_view text);

// Without our plugin. Nothing if it is not in `text`, or `text` is not a list.
std::optional<std::string> WithoutPlugin(std::string_view text);

}  // namespace sluice::cni
