// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "capture/explain/model.h"
#include "nftables/model/model.h"
#include "nftables/model/rule_model.h"

namespace sluice::nftables {

// One rule of nf_tables as a program of the model, and as text like nft(8)'s. Functions that take
// the attributes of an expression return false when they do not know it. Pure.
class RuleDecoder {
 public:
  RuleDecoder(Family family, const std::map<std::string, std::size_t>& sets,
              const std::vector<capture::explain::SetModel>& models,
              const ExtensionDecoder& extensions)
      : family_(family), sets_(sets), models_(models), extensions_(extensions) {}

  capture::explain::ModelRule Decode(const RawRule& raw);

 private:
  // What a register holds, as text.
  struct Held {
    std::string words;
    Shown as = Shown::kBytes;
    capture::explain::ByteString mask = {};
    capture::explain::ByteString constant = {};
  };

  void Add(capture::explain::Op op) { rule_.program.push_back(std::move(op)); }
  void Say(const std::string& words) { text_ += " " + words; }
  Held& At(const capture::explain::Slot& slot) { return held_[slot.at / 4]; }
  void Forget(const capture::explain::Slot& slot);
  // It may end the rule, let it continue, or do something unknown.
  void Unknown(const std::string& name);
  bool Harmless(const std::string& words);
  // It tests something that is not known here, and may end the rule.
  bool MayEnd(const std::string& name);
  bool One(const std::string& name, Bytes data);
  void SayVerdict(const capture::explain::Action& action);
  // The source of a target's value, as text.
  std::string Source(const capture::explain::Slot& slot, Shown as);
  bool Nat(Bytes data);
  bool Redirect(Bytes data);
  bool Tproxy(Bytes data);
  bool OfXtables(bool target, Bytes data);

  // --- what loads and changes registers (rule_loads.cc) ---
  bool Meta(Bytes data);
  bool Ct(Bytes data);
  bool Payload(Bytes data);
  bool Immediate(Bytes data);
  bool Bitwise(Bytes data);
  bool Byteorder(Bytes data);
  bool Object(Bytes data);
  bool Fib(Bytes data);
  bool LoadUnknown(const capture::explain::Slot& to, const std::string& words);

  // --- conditions (rule_conditions.cc) ---
  bool Compare(Bytes data);
  bool Range(Bytes data);
  bool Lookup(Bytes data);
  // As long as an address of the family.
  capture::explain::ByteString Padded(capture::explain::ByteString value) const;
  static std::string Operator(std::uint32_t operation);
  static std::string SetText(const std::string& name, const capture::explain::SetModel& set,
                             Shown as);

  Family family_;
  const std::map<std::string, std::size_t>& sets_;
  const std::vector<capture::explain::SetModel>& models_;
  const ExtensionDecoder& extensions_;
  capture::explain::ModelRule rule_;
  std::string text_;
  std::array<Held, capture::explain::kRegisterBytes / 4> held_;
};

// The bytes of one of enum nft_registers. Nothing if there is no such register of that size.
std::optional<capture::explain::Slot> SlotOf(std::optional<std::uint32_t> number, std::size_t size);

// The NFTA_DATA_VALUE in an attribute of that type.
std::optional<capture::explain::ByteString> ValueOf(Bytes attributes, std::uint16_t type);

}  // namespace sluice::nftables
