// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/fwd.hpp>

#include "capture/explain/walk.h"

namespace sluice::init {

// How a rule is named in answers.
struct Place {
  std::string backend = {};
  std::string table = {};
  std::string chain = {};
  std::string text = {};
  std::string flag = {};
  std::string why = {};
  std::size_t rule = 0;  // from 1; 0 if not a rule
};
Place PlaceOf(const capture::explain::PathEntry& entry);

// "iptables nat ISTIO_OUTPUT rule 3"
std::string Where(const Place& place);

boost::json::object PlaceJson(const capture::explain::PathEntry& entry);

// The rule on the way to a listener that captured the connection, which is more informative than
// the redirection; nothing if it is not known.
std::optional<capture::explain::PathEntry> CauseOf(
    const std::vector<capture::explain::PathEntry>& path);

// Why it landed there, and what to change to have it otherwise.
std::vector<std::string> AdviceOf(capture::explain::Landing landing,
                                  const std::optional<capture::explain::PathEntry>& decided,
                                  const std::vector<capture::explain::PathEntry>& path);

}  // namespace sluice::init
