// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "capture/settings/settings.h"

namespace sluice::capture {

// The settings in a JSON configuration file: one object, with flag names as keys. A value is a
// string as the flag takes it, a number, a boolean, or a list of strings and numbers, which is
// joined with commas. Throws Error(kUsage) if the file is unreadable or invalid: an unknown key, a
// repeated key, anything after the object.
std::map<std::string, Setting> ReadConfigFile(const std::string& path);

// The same for the contents of a file; `path` is for messages.
std::map<std::string, Setting> ParseConfig(std::string_view text, const std::string& path);

}  // namespace sluice::capture
