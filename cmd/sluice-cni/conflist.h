// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::cni {

// Network configurations as they stand in /etc/cni/net.d. Members keep their order, unknown ones
// stay.

// Whether `text` is a list of plugins, or, for one that is no list, a single plugin.
bool IsConfiguration(std::string_view text, bool list);

// A list with our plugin as its last; a single plugin becomes a list of two. `text` is such a
// configuration. Nothing when the plugin is there as it is to be.
std::optional<std::string> WithPlugin(std::string_view text);

// Without our plugin. Nothing when it is not there, or `text` is no list.
std::optional<std::string> WithoutPlugin(std::string_view text);

}  // namespace sluice::cni
