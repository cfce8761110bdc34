// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::inject {

// The annotation that says what was put into a pod, so that it can be taken out again.
inline constexpr std::string_view kStatusAnnotation = "sluice.dev/status";

// What it says. Names of members of the pod are as in "metadata/annotations".
struct Status {
  std::string version = {};   // of the program
  std::string original = {};  // Fingerprint() of the document as it was
  std::vector<std::string> annotations = {};
  std::vector<std::string> labels = {};
  std::vector<std::string> init_containers = {};
  std::vector<std::string> containers = {};
  std::vector<std::string> created = {};        // members that were not there
  std::map<std::string, std::string> was = {};  // members that were null, and how that was written

  bool operator==(const Status&) const = default;
};

std::string WriteStatus(const Status& status);
// Nothing when `text` is not what WriteStatus() writes.
std::optional<Status> ReadStatus(std::string_view text);

// Tells whether a text is still the one it was: its length and its FNV-1a hash of 64 bits. Against
// oversight, not against malice.
std::string Fingerprint(std::string_view text);

}  // namespace sluice::inject
