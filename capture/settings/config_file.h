// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "capture/settings/settings.h"

namespace sluice::capture {

// The settings of a JSON configuration file: one object, with flag names as keys. A value is a
// string as the flag takes it, a number, a boolean, or a list of strings and numbers, which is
// joined with commas. Throws Error(kUsage) for a file that cannot be read or understood: an unknown
// key, a key given twice, anything behind the object.
std::map<std::string, Setting> ReadConfigFile(const std::string& path);

// The same for the text of a file; `path` is for messages.
std::map<std::string, Setting> ParseConfig(std::string_view text, const std::string& path);

}  // namespace sluice::capture
