// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "capture/explain/model.h"
#include "capture/explain/walk.h"

// Internal to the walk: whether a packet meets a condition.
namespace sluice::capture::explain {

enum class Meets : std::uint8_t { kNo, kYes, kUnknown };
// The opposite where the condition is negated.
Meets Turned(Meets meets, bool negated);

// A packet on its way.
struct Traveller {
  IpAddress source;
  IpAddress destination;
  std::uint16_t source_port = 0;
  bool source_port_known = false;
  std::uint16_t destination_port = 0;
  Protocol protocol = Protocol::kTcp;
  std::string in_interface = {};
  std::string out_interface = {};
  bool has_socket = false;
  std::optional<std::uint32_t> uid = {};
  std::optional<std::uint32_t> gid = {};
  std::uint32_t mark = 0;
  std::uint32_t connmark = 0;
  // Which bits of both are known.
  std::uint32_t mark_known = 0xffffffff;
  std::uint32_t connmark_bits = 0xffffffff;
  bool connmark_known = true;  // for a connection that is not new, not known
  std::uint16_t state = kStateNew;
  // Whether conntrack has seen the packet: the raw table runs before that.
  bool tracked = false;
  bool untracked = false;
  bool changed_destination = false;
  bool changed_source = false;
};

// Whether a socket here takes the packet: known of the first one of a connection only.
Meets HasTaker(const Traveller& packet, Host& host);

// Whether all conditions hold; kUnknown when none fails but one is not known.
Meets MeetsAll(const ModelRule& rule, const Traveller& packet, Host& host);

}  // namespace sluice::capture::explain
