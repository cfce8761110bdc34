// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The JSON configuration of sluice-init.
#include <string_view>

#include "base/error.h"
#include "capture/settings/config_file.h"
#include "capture/settings/option_table.h"
#include "test/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
  using fuzz::Require;
  try {
    const auto settings =
        capture::ParseConfig({reinterpret_cast<const char*>(data), size}, "fuzz.json");
    for (const auto& [name, setting] : settings) {
      Require(capture::FindOption(name) != nullptr, "a key is a flag");
      Require(!setting.is_default() && !setting.origin.empty(), "a value tells where it stands");
    }
  } catch (const Error& error) {
    Require(error.kind() == ErrorKind::kUsage, "the only error is one of usage");
  }
  return 0;
}
