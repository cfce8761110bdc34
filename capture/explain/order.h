// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/explain/model.h"

namespace sluice::capture::explain {

// A base chain and its table.
struct BaseChain {
  const ModelTable& table;
  const ModelChain& chain;
};

// Whether a packet ends up in the same place when these base chains are asked in the other order.
// True only if that is certain. Pure.
bool Commute(const BaseChain& a, const BaseChain& b);

}  // namespace sluice::capture::explain
