// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/ip_address.h"
#include "capture/installed.h"
#include "nftables/message.h"
#include "nftables/program/program.h"

// Encodes programs as attributes of nf_tables messages, and decodes them
// (linux/netfilter/nf_tables.h). Decoding accepts any bytes. Pure.
namespace sluice::nftables {

// A decoded kernel rule.
struct DecodedRule {
  Program program;
  capture::Counters counters;
};

// The name of an anonymous set in a batch: the kernel puts a number into it.
inline constexpr const char* kAnonymousSet = "__set%d";

// How a rule refers to a set: by id within the same batch, or by the name of an existing set.
struct SetReference {
  std::string name = kAnonymousSet;
  std::uint32_t id = 0;  // 0: the set exists
};

// Writes the attribute NFTA_RULE_EXPRESSIONS. `set_of` returns the set for an InSet.
void EncodeProgram(const Program& program, Family family, const capture::Counters& counters,
                   const std::function<SetReference(const InSet&)>& set_of, MessageWriter& out);

// Decodes that attribute. An InSet has the name of its set, and no ranges yet.
DecodedRule DecodeProgram(Bytes expressions, Family family);

// An expression inside NFTA_RULE_EXPRESSIONS: `fill` writes its attributes.
void PutExpression(MessageWriter& out, const char* name, const std::function<void()>& fill);

// A value of one, which is a nest.
void PutData(MessageWriter& out, std::uint16_t attribute, Bytes value);

}  // namespace sluice::nftables
