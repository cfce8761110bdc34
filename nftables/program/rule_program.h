// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/cidr.h"
#include "capture/rule.h"
#include "nftables/program/program.h"

// From rules to programs and back. Pure.
namespace sluice::nftables {

// The mark that `rule` requires by a match M (MarkMatch or ConnmarkMatch) with this mask; nothing
// if there is no such match.
template <typename M>
std::optional<capture::Mark> TestedMark(const capture::Rule& rule, std::uint32_t mask) {
  for (const capture::Match& match : rule.matches) {
    const auto* const tested = std::get_if<M>(&match);
    if (tested != nullptr && !tested->mark.negated && tested->mark.value.mask == mask) {
      return tested->mark.value;
    }
  }
  return std::nullopt;
}

// The program of a rule of `table`, which must be in the form that Compile (compile.h) returns.
// Throws std::invalid_argument otherwise.
Program ToProgram(const capture::Rule& rule, Family family, capture::Table table);

// The rule for which ToProgram returns `program`; nothing if there is none.
std::optional<capture::Rule> ToRule(const Program& program, Family family, capture::Table table);

}  // namespace sluice::nftables
