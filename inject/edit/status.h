// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::inject {

// The annotation with the changes made to a pod, so that they can be undone.
inline constexpr std::string_view kStatusAnnotation = "sluice.dev/status";

// Its contents. Members of the pod are named as in "metadata/annotations".
struct Status {
  std::string version = {};   // of the program
  std::string original = {};  // Fingerprint() of the original document
  std::vector<std::string> annotations = {};
  std::vector<std::string> labels = {};
  std::vector<std::string> init_containers = {};
  std::vector<std::string> containers = {};
  std::vector<std::string> volumes = {};
  std::vector<std::string> created = {};        // members that did not exist
  std::map<std::string, std::string> was = {};  // members that were null, and their original text

  bool operator==(const Status&) const = default;
};

std::string WriteStatus(const Status& status);
// Nothing if `text` was not written by WriteStatus().
std::optional<Status> ReadStatus(std::string_view text);

// Detects whether a text is unchanged: its length and its 64-bit FNV-1a hash. Protects against
// mistakes, not against attacks.
std::string Fingerprint(std::string_view text);

}  // namespace sluice::inject
