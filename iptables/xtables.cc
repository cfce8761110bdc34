// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/xtables.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <span>
#include <utility>

#include "base/error.h"
#include "iptables/libiptc_api.h"
#include "iptables/xt_entry.h"
#include "iptables/xtables_errors.h"

namespace sluice::iptables {
namespace {

using capture::Describe;
using capture::InstalledChain;
using capture::InstalledJump;
using capture::InstalledRule;
using libiptc::V4;
using libiptc::V6;

// A chain name in the array type that libiptc takes.
class Label {
 public:
  explicit Label(std::string_view name) {
    std::memcpy(text_.data(), name.data(), std::min(name.size(), text_.size() - 1));
  }
  const char* get() const { return text_.data(); }

 private:
  std::array<char, sizeof(xt_chainlabel)> text_{};
};

// A snapshot of one table, edited in memory and committed as a whole. The functions throw libiptc's
// errno as Failure; the caller knows what was being done.
template <typename Api>
class Handle {
 public:
  struct Failure {
    int saved_errno;
  };

  explicit Handle(capture::Table table) {
    handle_.reset(Api::init(std::string(Name(table)).c_str()));
    if (!handle_) throw InitError(errno, Api::kFamily, table);
  }

  InstalledTable Read() const {
    InstalledTable state;
    state.exists = true;
    for (const char* chain = Api::first_chain(get()); chain != nullptr;
         chain = Api::next_chain(get())) {
      ReadChain(chain, state);
    }
    for (const capture::ForeignEntry& entry : state.foreign) {
      ReadForeignChains(entry.rule.target, state);
    }
    // In libiptc's order, even if the kernel's table had its chains in another one.
    std::ranges::sort(state.chains, {}, &InstalledChain::name);
    return state;
  }

  // Everything that a commit writes, including foreign rules, except the counters.
  std::string Contents() const {
    std::string out;
    const auto add = [&out](std::string_view text) {
      out += text;
      out += '\0';
    };
    for (const char* chain = Api::first_chain(get()); chain != nullptr;
         chain = Api::next_chain(get())) {
      const std::string name = chain;
      add(name);
      if (Api::builtin(name.c_str(), get()) != 0) {
        xt_counters counters;
        const char* const policy = Api::get_policy(name.c_str(), &counters, get());
        add(policy != nullptr ? policy : "");
      }
      for (auto* entry = Api::first_rule(name.c_str(), get()); entry != nullptr;
           entry = Api::next_rule(entry, get())) {
        add(Api::get_target(entry, get()));
        typename Api::Entry header;
        std::memcpy(&header, entry, sizeof(header));
        header.counters = {};
        header.comefrom = 0;
        out.append(reinterpret_cast<const char*>(&header), sizeof(header));
        out.append(reinterpret_cast<const char*>(entry) + sizeof(header),
                   entry->next_offset - sizeof(header));
      }
    }
    return out;
  }

  void Flush(std::string_view chain) { Check(Api::flush_entries(Label(chain).get(), get())); }
  void Delete(std::string_view chain) { Check(Api::delete_chain(Label(chain).get(), get())); }
  void Create(std::string_view chain) { Check(Api::create_chain(Label(chain).get(), get())); }
  void Append(std::string_view chain, std::span<const std::byte> entry) {
    Check(Api::append_entry(Label(chain).get(), Entry(entry), get()));
  }
  void Insert(std::string_view chain, std::span<const std::byte> entry, unsigned int position) {
    Check(Api::insert_entry(Label(chain).get(), Entry(entry), position, get()));
  }
  void DeleteRule(std::string_view chain, unsigned int position) {
    Check(Api::delete_num_entry(Label(chain).get(), position, get()));
  }
  unsigned int RuleCount(std::string_view chain) const {
    unsigned int count = 0;
    const Label label(chain);
    for (auto* entry = Api::first_rule(label.get(), get()); entry != nullptr;
         entry = Api::next_rule(entry, get())) {
      ++count;
    }
    return count;
  }

  // False when the table has changed since it was read.
  bool Commit() {
    if (Api::commit(get()) != 0) return true;
    if (errno == EAGAIN) return false;
    throw Failure{errno};
  }

 private:
  struct Free {
    void operator()(xtc_handle* handle) const { Api::free(handle); }
  };

  xtc_handle* get() const { return handle_.get(); }

  static void Check(int succeeded) {
    if (succeeded == 0) throw Failure{errno};
  }

  static const typename Api::Entry* Entry(std::span<const std::byte> entry) {
    return reinterpret_cast<const typename Api::Entry*>(entry.data());
  }

  InstalledRule ReadRule(const typename Api::Entry* entry) const {
    const auto* bytes = reinterpret_cast<const std::byte*>(entry);
    InstalledRule rule{.rule = {},
                       .target = Api::get_target(entry, get()),
                       .counters = {entry->counters.pcnt, entry->counters.bcnt},
                       .entry = {bytes, bytes + entry->next_offset}};
    rule.rule = DecodeEntry(rule.entry, rule.target, Api::kFamily);
    return rule;
  }

  void ReadChain(const std::string& name, InstalledTable& state) const {
    const bool owned = capture::IsOwnedChain(name);
    const bool builtin = Api::builtin(name.c_str(), get()) != 0;
    InstalledChain chain{.name = name, .rules = {}};
    unsigned int position = 0;
    for (auto* entry = Api::first_rule(name.c_str(), get()); entry != nullptr;
         entry = Api::next_rule(entry, get()), ++position) {
      if (owned) {
        chain.rules.push_back(ReadRule(entry));
      } else if (const std::string target = Api::get_target(entry, get());
                 capture::IsOwnedChain(target)) {
        if (builtin) {
          state.jumps.push_back({name, position, ReadRule(entry)});
        } else {
          state.foreign_references.push_back("chain " + name + ", rule " +
                                             std::to_string(position + 1) + ", leads to " + target);
        }
      } else if (builtin && IsHook(name)) {
        state.foreign.push_back({name, position, ReadForeign(entry)});
      }
    }
    if (owned) state.chains.push_back(std::move(chain));
  }

  static bool IsHook(std::string_view chain) {
    return chain == Name(capture::Hook::kPrerouting) || chain == Name(capture::Hook::kOutput);
  }

  capture::ForeignRule ReadForeign(const typename Api::Entry* entry) const {
    const auto* bytes = reinterpret_cast<const std::byte*>(entry);
    capture::ForeignRule rule = DecodeForeignEntry({bytes, bytes + entry->next_offset},
                                                   Api::get_target(entry, get()), Api::kFamily);
    rule.counters = {entry->counters.pcnt, entry->counters.bcnt};
    return rule;
  }

  // Follows jumps, and reads each chain once; a node's thousands of other chains are skipped.
  void ReadForeignChains(const std::string& name, InstalledTable& state) const {
    constexpr std::size_t kMostChains = 64;
    const Label label(name);
    if (state.foreign_chains.size() >= kMostChains || name.empty() || capture::IsOwnedChain(name) ||
        Api::is_chain(label.get(), get()) == 0 ||
        std::ranges::find(state.foreign_chains, name, &capture::ForeignChain::name) !=
            state.foreign_chains.end()) {
      return;
    }
    capture::ForeignChain chain{.name = name, .rules = {}};
    std::vector<std::string> next;
    for (auto* entry = Api::first_rule(label.get(), get()); entry != nullptr;
         entry = Api::next_rule(entry, get())) {
      chain.rules.push_back(ReadForeign(entry));
      next.push_back(chain.rules.back().target);
    }
    state.foreign_chains.push_back(std::move(chain));
    for (const std::string& target : next) ReadForeignChains(target, state);
  }

  std::unique_ptr<xtc_handle, Free> handle_;
};

// libiptc finds a standard target by its name, which a kernel entry does not contain.
std::vector<std::byte> WithTargetName(const InstalledRule& rule, std::size_t target_offset) {
  std::vector<std::byte> entry = rule.entry;
  xt_entry_target header;
  std::memcpy(&header, entry.data() + target_offset, sizeof(header));
  if (header.u.user.name[0] != '\0') return entry;
  // The kernel writes names up to their NUL; the rest is whatever libiptc's memory held.
  std::memset(header.u.user.name, 0, sizeof(header.u.user.name));
  std::memcpy(header.u.user.name, rule.target.data(),
              std::min(rule.target.size(), sizeof(header.u.user.name) - 1));
  std::memcpy(entry.data() + target_offset, &header, sizeof(header));
  return entry;
}

template <typename Api>
std::vector<std::byte> ToEntry(const InstalledRule& rule) {
  typename Api::Entry entry;
  std::memcpy(&entry, rule.entry.data(), sizeof(entry));
  return WithTargetName(rule, entry.target_offset);
}

// Deletes jumps last to first, so that positions stay valid.
template <typename Api>
void DeleteJumps(Handle<Api>& handle, const std::vector<InstalledJump>& jumps) {
  for (auto jump = jumps.rbegin(); jump != jumps.rend(); ++jump) {
    handle.DeleteRule(jump->chain, jump->position);
  }
}

// New jumps replace the first old jump of their built-in chain, or go to the end: foreign rules
// keep their order, and rules before ours stay there.
template <typename Api>
void ReplaceJumps(Handle<Api>& handle, const std::vector<InstalledJump>& have,
                  const std::vector<capture::EntryJump>& want) {
  DeleteJumps(handle, have);
  for (const capture::Hook hook : {capture::Hook::kPrerouting, capture::Hook::kOutput}) {
    const auto first = std::ranges::find(have, Name(hook), &InstalledJump::chain);
    bool append = first == have.end();
    unsigned int position = append ? 0 : first->position;
    for (const capture::EntryJump& jump : want) {
      if (jump.hook != hook) continue;
      const auto entry = EncodeEntry(jump.rule, Api::kFamily);
      if (append) {
        handle.Append(Name(hook), entry);
      } else {
        handle.Insert(Name(hook), entry, position++);
      }
    }
  }
}

template <typename Api>
void Edit(Handle<Api>& handle, const InstalledTable& have, const capture::TableRules& want,
          Keep keep_what) {
  const bool anew = keep_what == Keep::kNothing;
  std::vector<const capture::Chain*> to_fill;
  std::vector<std::string> to_delete;
  for (const capture::Chain& chain : want.chains) {
    const InstalledChain* old = capture::FindChain(have, chain.name);
    if (old == nullptr) handle.Create(chain.name);
    if (anew || old == nullptr || !Equal(*old, chain)) to_fill.push_back(&chain);
  }
  std::map<std::string_view, const capture::Chain*> wanted;
  for (const capture::Chain& chain : want.chains) wanted[chain.name] = &chain;
  for (const InstalledChain& chain : have.chains) {
    const auto found = wanted.find(chain.name);
    const bool keep = found != wanted.end();
    if (!keep) to_delete.push_back(chain.name);
    // Flush all before deleting any: a chain that is still a jump target cannot be deleted.
    if (anew || !keep || !Equal(chain, *found->second)) handle.Flush(chain.name);
  }
  for (const capture::Chain* chain : to_fill) {
    for (const capture::Rule& rule : chain->rules) {
      handle.Append(chain->name, EncodeEntry(rule, Api::kFamily));
    }
  }
  if (anew || !JumpsEqual(have.jumps, want.jumps)) ReplaceJumps(handle, have.jumps, want.jumps);
  for (const std::string& chain : to_delete) handle.Delete(chain);
}

Error ForeignReference(Family family, capture::Table table, const InstalledTable& state) {
  return Error(ErrorKind::kFailed,
               {.doing = "remove our chains from the " + Describe(family, table),
                .target = {},
                .why = "another chain leads to one of them: " + state.foreign_references.front(),
                .help = "remove that rule, or the chain that holds it"});
}

// Whether another process has changed the table since `contents` were read. The kernel compares
// only the number of rules, so a commit would undo a replaced rule.
template <typename Api>
bool HasChanged(capture::Table table, const std::string& contents, int attempt) {
  return attempt < kComparedAttempts && Handle<Api>(table).Contents() != contents;
}

template <typename Api>
InstalledTable Replace(const capture::TableRules& wanted, Keep keep) {
  for (int attempt = 0; attempt < kCommitAttempts; ++attempt) {
    Handle<Api> handle(wanted.table);
    InstalledTable before = handle.Read();
    const std::string contents = handle.Contents();
    try {
      Edit(handle, before, wanted, keep);
      if (HasChanged<Api>(wanted.table, contents, attempt)) continue;
      if (handle.Commit()) return before;
    } catch (const typename Handle<Api>::Failure& failure) {
      // libiptc's EMLINK means "still referenced".
      if (failure.saved_errno == EMLINK && !before.foreign_references.empty()) {
        throw ForeignReference(Api::kFamily, wanted.table, before);
      }
      throw CommitError(failure.saved_errno, Api::kFamily, wanted);
    }
  }
  throw CommitError(EAGAIN, Api::kFamily, wanted);
}

template <typename Api>
bool TryRestore(capture::Table table, const InstalledTable& before, int attempt) {
  Handle<Api> handle(table);
  const InstalledTable now = handle.Read();
  const std::string contents = handle.Contents();
  DeleteJumps(handle, now.jumps);
  for (const InstalledChain& chain : now.chains) handle.Flush(chain.name);
  for (const InstalledChain& chain : before.chains) {
    if (capture::FindChain(now, chain.name) == nullptr) handle.Create(chain.name);
  }
  for (const InstalledChain& chain : before.chains) {
    for (const InstalledRule& rule : chain.rules) handle.Append(chain.name, ToEntry<Api>(rule));
  }
  for (const InstalledJump& jump : before.jumps) {
    handle.Insert(jump.chain, ToEntry<Api>(jump.rule),
                  std::min(jump.position, handle.RuleCount(jump.chain)));
  }
  for (const InstalledChain& chain : now.chains) {
    if (capture::FindChain(before, chain.name) == nullptr) handle.Delete(chain.name);
  }
  return !HasChanged<Api>(table, contents, attempt) && handle.Commit();
}

template <typename Api>
void Restore(capture::Table table, const InstalledTable& before) {
  try {
    for (int attempt = 0; attempt < kCommitAttempts; ++attempt) {
      if (TryRestore<Api>(table, before, attempt)) return;
    }
  } catch (const typename Handle<Api>::Failure& failure) {
    throw CommitError(failure.saved_errno, Api::kFamily, {.table = table});
  }
  throw CommitError(EAGAIN, Api::kFamily, {.table = table});
}

}  // namespace

bool InThisBuild() { return true; }

std::optional<Error> MissingTable(Family family, capture::Table table) {
  try {
    if (family == Family::kIpv4) {
      Handle<V4> handle(table);
    } else {
      Handle<V6> handle(table);
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kKernelFeature) return error;
  }
  return {};
}

InstalledTable ReadTable(Family family, capture::Table table, TableNames& names) {
  if (!names.Has(family, table)) return {};
  InstalledTable state =
      family == Family::kIpv4 ? Handle<V4>(table).Read() : Handle<V6>(table).Read();
  if (!state.foreign.empty()) names.NoteForeignRules();
  return state;
}

InstalledTable ReplaceTable(Family family, const capture::TableRules& wanted, Keep keep) {
  return family == Family::kIpv4 ? Replace<V4>(wanted, keep) : Replace<V6>(wanted, keep);
}

void RestoreTable(Family family, capture::Table table, const InstalledTable& before) {
  if (family == Family::kIpv4) {
    Restore<V4>(table, before);
  } else {
    Restore<V6>(table, before);
  }
}

}  // namespace sluice::iptables
