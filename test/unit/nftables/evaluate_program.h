// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/evaluate.h"
#include "nftables/state.h"

namespace sluice::nftables {

// Evaluates programs as the kernel does: an interpreter of expressions with one register, modelled
// on net/netfilter/nf_tables_core.c and the nft_*.c files.
struct ProgramResult {
  capture::Verdict verdict = capture::Passes{};
  capture::Packet packet;
  std::uint16_t zone = 0;
};
// `listens`: whether a transparent socket exists for TPROXY. Throws std::invalid_argument if the
// kernel would refuse the program.
ProgramResult EvaluatePrograms(const FamilyState& state, Family family, capture::Hook hook,
                               capture::Packet packet, bool listens = true);

}  // namespace sluice::nftables
