// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <map>
#include <string>

#include "capture/explain/model.h"
#include "nftables/model/model.h"

// Internal to model.cc: one rule (rule_decoder.h), or one set.
namespace sluice::nftables {

// `sets` has the index of each set of the table by name.
capture::explain::ModelRule DecodeModelRule(const RawRule& rule, Family family,
                                            const std::map<std::string, std::size_t>& sets,
                                            const std::vector<capture::explain::SetModel>& models,
                                            const ExtensionDecoder& extensions);
capture::explain::SetModel DecodeSet(const RawSet& set);

// A verdict as an action; nothing if it is not known.
std::optional<capture::explain::Action> DecodeVerdict(Bytes verdict);

// "10.0.0.0", "80", "\"eth0\"": depends on what was loaded.
enum class Shown : std::uint8_t {
  kBytes,
  kAddress,
  kPort,
  kName,
  kNumber,
  kMark,
  kProtocol,
  kState
};
std::string ToText(const capture::explain::ByteString& value, Shown as);

}  // namespace sluice::nftables
