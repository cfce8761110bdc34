// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/xtables.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <iterator>
#include <set>
#include <utility>

#include "base/error.h"
#include "iptables/layout/xt_entry.h"
#include "iptables/layout/xt_table.h"
#include "iptables/xt_socket.h"
#include "iptables/xtables_errors.h"

namespace sluice::iptables {
namespace {

using capture::Describe;
using capture::InstalledChain;
using capture::InstalledJump;
using capture::InstalledRule;

// A table that was read, to be edited and written as a whole.
struct Snapshot {
  XtSocket socket;
  XtBlob blob;
  XtTable table;
};

Snapshot Take(Family family, capture::Table which) {
  XtSocket socket(XtSocket::AsIptables{}, family);
  XtBlob blob;
  if (const int error = socket.Read(Name(which), blob); error != 0) {
    throw InitError(error, family, which);
  }
  auto table = XtTable::Parse(blob, family);
  if (!table) throw UnknownForm(family, Name(which));
  return {std::move(socket), std::move(blob), *std::move(table)};
}

bool IsHook(const XtChain& chain) {
  return chain.name == Name(capture::Hook::kPrerouting) ||
         chain.name == Name(capture::Hook::kOutput);
}

InstalledRule ToInstalled(const XtRule& rule, Family family) {
  return {.rule = DecodeEntry(rule.entry, rule.target, family),
          .target = rule.target,
          .counters = rule.counters.start,
          .entry = rule.entry};
}

capture::ForeignRule ToForeign(const XtRule& rule, Family family) {
  capture::ForeignRule out = DecodeForeignEntry(rule.entry, rule.target, family);
  out.counters = rule.counters.start;
  return out;
}

void ReadChain(const XtChain& from, Family family, InstalledTable& state) {
  const bool owned = capture::IsOwnedChain(from.name);
  InstalledChain chain{.name = from.name, .rules = {}};
  unsigned int position = 0;
  for (const XtRule& rule : from.rules) {
    if (owned) {
      chain.rules.push_back(ToInstalled(rule, family));
    } else if (capture::IsOwnedChain(rule.target)) {
      if (from.hook) {
        state.jumps.push_back({from.name, position, ToInstalled(rule, family)});
      } else {
        state.foreign_references.push_back("chain " + from.name + ", rule " +
                                           std::to_string(position + 1) + ", leads to " +
                                           rule.target);
      }
    } else if (IsHook(from)) {
      state.foreign.push_back({from.name, position, ToForeign(rule, family)});
    }
    ++position;
  }
  if (owned) state.chains.push_back(std::move(chain));
}

// Follows jumps, and reads each chain once; a node's thousands of other chains are skipped.
void ReadForeignChains(const std::string& name, const XtTable& table, Family family,
                       InstalledTable& state) {
  constexpr std::size_t kMostChains = 64;
  const XtChain* const from = table.Find(name);
  if (from == nullptr || state.foreign_chains.size() >= kMostChains ||
      capture::IsOwnedChain(name) ||
      std::ranges::find(state.foreign_chains, name, &capture::ForeignChain::name) !=
          state.foreign_chains.end()) {
    return;
  }
  capture::ForeignChain chain{.name = name, .rules = {}};
  for (const XtRule& rule : from->rules) chain.rules.push_back(ToForeign(rule, family));
  state.foreign_chains.push_back(std::move(chain));
  for (const XtRule& rule : from->rules) ReadForeignChains(rule.target, table, family, state);
}

InstalledTable ToInstalled(const XtTable& table, Family family) {
  InstalledTable state;
  state.exists = true;
  for (const auto& [key, chain] : table.chains()) ReadChain(chain, family, state);
  for (const capture::ForeignEntry& entry : state.foreign) {
    ReadForeignChains(entry.rule.target, table, family, state);
  }
  return state;
}

XtRule NewRule(const capture::Rule& rule, Family family) {
  return {.entry = EncodeEntry(rule, family), .target = TargetName(rule.target)};
}

// The same rule again, with what it had counted.
XtRule ToRule(const InstalledRule& rule) {
  return {.entry = rule.entry, .target = rule.target, .counters = {.start = rule.counters}};
}

using Position = std::vector<XtRule>::difference_type;

// Deletes jumps last to first, so that positions stay valid.
void DeleteJumps(XtTable& table, const std::vector<InstalledJump>& jumps) {
  for (auto jump = jumps.rbegin(); jump != jumps.rend(); ++jump) {
    std::vector<XtRule>& rules = table.Find(jump->chain)->rules;
    rules.erase(rules.begin() + static_cast<Position>(jump->position));
  }
}

// New jumps replace the first old jump of their built-in chain, or go to the end: foreign rules
// keep their order, and rules before ours stay there.
void ReplaceJumps(XtTable& table, const std::vector<InstalledJump>& have,
                  const std::vector<capture::EntryJump>& want, Family family) {
  DeleteJumps(table, have);
  for (const capture::Hook hook : {capture::Hook::kPrerouting, capture::Hook::kOutput}) {
    XtChain* const chain = table.Find(Name(hook));
    if (chain == nullptr) continue;
    const auto first = std::ranges::find(have, Name(hook), &InstalledJump::chain);
    auto where = first == have.end()
                     ? chain->rules.end()
                     : chain->rules.begin() + static_cast<Position>(first->position);
    for (const capture::EntryJump& jump : want) {
      if (jump.hook == hook)
        where = std::next(chain->rules.insert(where, NewRule(jump.rule, family)));
    }
  }
}

void Edit(XtTable& table, const InstalledTable& have, const capture::TableRules& want,
          Keep keep_what, Family family) {
  const bool anew = keep_what == Keep::kNothing;
  std::set<std::string_view> wanted;
  for (const capture::Chain& chain : want.chains) {
    wanted.insert(chain.name);
    const InstalledChain* const old = capture::FindChain(have, chain.name);
    if (old == nullptr) {
      table.Create(chain.name);
    } else if (!anew && Equal(*old, chain)) {
      continue;
    }
    std::vector<XtRule>& rules = table.Find(chain.name)->rules;
    rules.clear();
    for (const capture::Rule& rule : chain.rules) rules.push_back(NewRule(rule, family));
  }
  for (const InstalledChain& chain : have.chains) {
    if (!wanted.contains(chain.name)) table.Delete(chain.name);
  }
  if (anew || !JumpsEqual(have.jumps, want.jumps)) {
    ReplaceJumps(table, have.jumps, want.jumps, family);
  }
}

// Puts `before` in the place of `now`.
void PutBack(XtTable& table, const InstalledTable& now, const InstalledTable& before) {
  DeleteJumps(table, now.jumps);
  for (const InstalledChain& chain : now.chains) table.Delete(chain.name);
  for (const InstalledChain& chain : before.chains) {
    table.Create(chain.name);
    std::ranges::transform(chain.rules, std::back_inserter(table.Find(chain.name)->rules), ToRule);
  }
  for (const InstalledJump& jump : before.jumps) {
    std::vector<XtRule>& rules = table.Find(jump.chain)->rules;
    const auto position = std::min<std::size_t>(jump.position, rules.size());
    rules.insert(rules.begin() + static_cast<Position>(position), ToRule(jump.rule));
  }
}

Error ForeignReference(Family family, capture::Table table, const InstalledTable& state) {
  return Error(ErrorKind::kFailed,
               {.doing = "remove our chains from the " + Describe(family, table),
                .target = {},
                .why = "another chain leads to one of them: " + state.foreign_references.front(),
                .help = "remove that rule, or the chain that holds it"});
}

// Edits the table and writes it, until nobody else has changed it meanwhile. The kernel compares
// only the number of entries when it replaces a table, so a commit could undo a replaced rule: the
// table is read again right before. Returns what was there.
InstalledTable Rewrite(Family family, const capture::TableRules& wanted,
                       const std::function<void(XtTable&, const InstalledTable&)>& edit) {
  for (int attempt = 0; attempt < kCommitAttempts; ++attempt) {
    Snapshot snapshot = Take(family, wanted.table);
    InstalledTable before = ToInstalled(snapshot.table, family);
    edit(snapshot.table, before);
    const std::optional<XtImage> image = snapshot.table.Build();
    if (!image) {
      // Somebody else's: our chains lead to our own.
      if (before.foreign_references.empty()) throw CommitError(ENOENT, family, wanted);
      throw ForeignReference(family, wanted.table, before);
    }
    if (attempt < kComparedAttempts) {
      XtBlob now;
      const int error = snapshot.socket.Read(Name(wanted.table), now);
      if (error != 0) throw InitError(error, family, wanted.table);
      if (!SameRules(snapshot.blob, now, family)) continue;
    }
    const int error =
        snapshot.socket.Replace(Name(wanted.table), *image, snapshot.blob.entry_count);
    if (error == 0) return before;
    if (error != EAGAIN) throw CommitError(error, family, wanted);
  }
  throw CommitError(EAGAIN, family, wanted);
}

}  // namespace

bool InThisBuild() { return true; }

std::optional<Error> MissingTable(Family family, capture::Table table) {
  XtBlob blob;
  const int error = XtSocket(XtSocket::AsIptables{}, family).Read(Name(table), blob);
  if (error == 0) return {};
  Error out = InitError(error, family, table);
  if (out.kind() == ErrorKind::kKernelFeature) return out;
  return {};
}

InstalledTable ReadTable(Family family, capture::Table table, TableNames& names) {
  if (!names.Has(family, table)) return {};
  InstalledTable state = ToInstalled(Take(family, table).table, family);
  if (!state.foreign.empty()) names.NoteForeignRules();
  return state;
}

InstalledTable ReplaceTable(Family family, const capture::TableRules& wanted, Keep keep) {
  return Rewrite(family, wanted, [&](XtTable& table, const InstalledTable& have) {
    Edit(table, have, wanted, keep, family);
  });
}

void RestoreTable(Family family, capture::Table table, const InstalledTable& before) {
  Rewrite(family, {.table = table},
          [&](XtTable& edited, const InstalledTable& now) { PutBack(edited, now, before); });
}

}  // namespace sluice::iptables
