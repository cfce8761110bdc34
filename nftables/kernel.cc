// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/kernel.h"

#include <linux/capability.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/os/capabilities.h"
#include "nftables/batch.h"
#include "nftables/codec.h"
#include "nftables/intervals.h"

namespace sluice::nftables {
namespace {

// A dump comes in parts of up to 32 KiB: a larger reader's buffer means fewer parts.
constexpr std::size_t kReceiveBytes = 65536;
// How often a reader starts over while others write.
constexpr int kReadAttempts = 10;

Error NoPrivilege(std::string doing) {
  ErrorText text{.doing = std::move(doing),
                 .target = {},
                 .why = "missing CAP_NET_ADMIN",
                 .help = "grant it: securityContext.capabilities.add: [NET_ADMIN]"};
  if (ReadCapabilities().Has(CAP_NET_ADMIN)) {
    text.why = std::strerror(EPERM);
    text.help =
        "the network namespace belongs to another user namespace; run in the one that owns it";
  } else if (::geteuid() != 0 && IsInBoundingSet(CAP_NET_ADMIN)) {
    // It was granted, but lost when a user other than root started the program.
    text.help +=
        "; for a user other than root the program's file needs it too: setcap "
        "cap_net_admin=p, as in our image; else runAsUser: 0";
  }
  return Error(ErrorKind::kPrivilege, std::move(text));
}

Error NoNftables(int saved_errno) {
  return Error(
      ErrorKind::kKernelFeature,
      {.doing = "talk to nf_tables",
       .target = {},
       .why = std::string("the kernel has no nf_tables (") + std::strerror(saved_errno) + ")",
       .help = "load the module nf_tables, or use --backend iptables"});
}

std::optional<Base> DecodeBase(Bytes chain) {
  const auto hook = FindAttribute(chain, NFTA_CHAIN_HOOK);
  if (!hook) return {};
  Base out{.type = TextOf(chain, NFTA_CHAIN_TYPE)};
  const auto number = [](Bytes in, std::uint16_t type) {
    const auto found = FindAttribute(in, type);
    return found ? found->Big32().value_or(0) : 0;
  };
  out.hook = number(hook->value, NFTA_HOOK_HOOKNUM);
  out.priority = static_cast<std::int32_t>(number(hook->value, NFTA_HOOK_PRIORITY));
  out.policy = number(chain, NFTA_CHAIN_POLICY);
  return out;
}

bool IsMissingFeature(int error) {
  return error == ENOENT || error == EOPNOTSUPP || error == EAFNOSUPPORT ||
         error == EPROTONOSUPPORT;
}

}  // namespace

Kernel::Kernel() : buffer_(std::make_unique_for_overwrite<std::uint8_t[]>(kReceiveBytes)) {
  socket_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!socket_) {
    if (errno == EPERM || errno == EACCES) throw NoPrivilege("open a netlink socket");
    if (errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT) throw NoNftables(errno);
    throw SystemError(errno, "open a netlink socket");
  }
}

void Kernel::Send(const std::string& bytes) {
  const sockaddr_nl kernel{.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = 0, .nl_groups = 0};
  for (;;) {
    const ssize_t sent = ::sendto(socket_.get(), bytes.data(), bytes.size(), 0,
                                  reinterpret_cast<const sockaddr*>(&kernel), sizeof(kernel));
    if (sent >= 0) return;
    if (errno != EINTR) throw SystemError(errno, "send to nf_tables");
  }
}

// A batch is sent as one message, which must fit into the socket's buffer.
bool Kernel::MakeRoom(std::size_t bytes) {
  // net.core.wmem_default is 212,992 nearly everywhere; half of that is safe anywhere.
  constexpr std::size_t kFits = 100'000;
  if (bytes <= kFits) return true;
  // The first is refused in a user namespace, the second is limited by net.core.wmem_max.
  int size = static_cast<int>(2 * bytes);
  if (setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == 0) return true;
  (void)setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  socklen_t length = sizeof(size);
  if (getsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &size, &length) != 0) return false;
  // The kernel's netlink_sendmsg() needs 32 bytes more.
  return bytes + 32 <= static_cast<std::size_t>(size);
}

void Kernel::SendBatch(const std::string& bytes) {
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  const msghdr message{.msg_name = nullptr,
                       .msg_namelen = 0,
                       .msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = nullptr,
                       .msg_controllen = 0,
                       .msg_flags = 0};
  while (::sendmsg(socket_.get(), &message, 0) < 0) {
    if (errno != EINTR) throw SystemError(errno, "write the rules of nf_tables");
  }
}

// Returns how many bytes of buffer_ were filled; 0 if there is nothing to receive.
std::size_t Kernel::Receive() {
  for (;;) {
    const ssize_t size = ::recv(socket_.get(), buffer_.get(), kReceiveBytes, MSG_DONTWAIT);
    if (size >= 0) return static_cast<std::size_t>(size);
    // The kernel answers before sendto returns. A full socket loses messages (ENOBUFS).
    if (errno == EAGAIN) return 0;
    if (errno != EINTR && errno != ENOBUFS) throw SystemError(errno, "receive from nf_tables");
  }
}

std::uint32_t Kernel::Generation() {
  MessageWriter request;
  request.Begin(MessageType(NFT_MSG_GETGEN), 0, ++sequence_, NFPROTO_UNSPEC);
  request.End();
  Send(request.bytes());
  std::optional<std::uint32_t> generation;
  while (!generation) {
    const std::size_t size = Receive();
    if (size == 0) break;
    Bytes bytes(buffer_.get(), size);
    while (const auto message = TakeMessage(bytes)) {
      if (message->sequence != sequence_) continue;
      if (message->type == NLMSG_ERROR) {
        if (message->error == EPERM || message->error == EACCES) {
          throw NoPrivilege("read the rules of nf_tables");
        }
        throw NoNftables(message->error);
      }
      const auto inside = OfNetfilter(*message);
      if (inside) generation = NumberOf(inside->attributes, NFTA_GEN_ID);
    }
  }
  if (!generation) throw NoNftables(EPROTO);
  return *generation;
}

// Calls `visit` with each message of the answer. False when the dump was interrupted by a change.
template <typename Visit>
bool Kernel::Dump(MessageWriter& request, Visit visit) {
  Send(request.bytes());
  bool consistent = true;
  for (;;) {
    const std::size_t size = Receive();
    if (size == 0) return false;
    Bytes bytes(buffer_.get(), size);
    while (const auto message = TakeMessage(bytes)) {
      if (message->sequence != sequence_) continue;
      if ((message->flags & NLM_F_DUMP_INTR) != 0) consistent = false;
      if (message->type == NLMSG_ERROR || message->type == NLMSG_DONE) {
        if (message->error == 0) return consistent;
        // Something was removed during the dump.
        if (message->error == ENOENT || message->error == EINTR || message->error == EAGAIN) {
          return false;
        }
        if (message->error == EPERM) throw NoPrivilege("read the rules of nf_tables");
        throw SystemError(message->error, "read the rules of nf_tables");
      }
      if (const auto inside = OfNetfilter(*message)) visit(*inside);
    }
  }
}

bool Kernel::DumpAll(int message, std::uint8_t family,
                     const std::function<void(MessageWriter&)>& fill,
                     const std::function<void(std::uint8_t, Bytes)>& visit) {
  MessageWriter request;
  request.Begin(MessageType(message), NLM_F_DUMP, ++sequence_, family);
  if (fill) fill(request);
  request.End();
  return Dump(request, [&visit](const NetfilterMessage& answer) {
    visit(answer.family, answer.attributes);
  });
}

bool Kernel::ReadSet(Family family, InSet& set) {
  // A set of intervals, unless nft(8) made it from single addresses.
  MessageWriter about;
  about.Begin(MessageType(NFT_MSG_GETSET), 0, ++sequence_, KernelFamily(family));
  about.PutText(NFTA_SET_TABLE, kTableName);
  about.PutText(NFTA_SET_NAME, set.name);
  about.End();
  std::optional<std::uint32_t> set_flags;
  Send(about.bytes());
  while (const std::size_t size = Receive()) {
    Bytes bytes(buffer_.get(), size);
    while (const auto message = TakeMessage(bytes)) {
      if (message->sequence != sequence_) continue;
      const auto inside = OfNetfilter(*message);
      if (inside) set_flags = NumberOf(inside->attributes, NFTA_SET_FLAGS);
    }
  }
  if (!set_flags) return false;
  MessageWriter request;
  request.Begin(MessageType(NFT_MSG_GETSETELEM), NLM_F_DUMP, ++sequence_, KernelFamily(family));
  request.PutText(NFTA_SET_ELEM_LIST_TABLE, kTableName);
  request.PutText(NFTA_SET_ELEM_LIST_SET, set.name);
  request.End();
  std::vector<Element> elements;
  bool all = true;
  const bool consistent = Dump(request, [&](const NetfilterMessage& message) {
    const auto nest = FindAttribute(message.attributes, NFTA_SET_ELEM_LIST_ELEMENTS);
    if (nest) all = DecodeElements(nest->value, family, elements) && all;
  });
  if (!consistent) return false;
  // A set of another type keeps its name, which none of Sluice's sets has.
  if (!all) return true;
  if ((*set_flags & NFT_SET_INTERVAL) != 0) {
    set.ranges = ToRanges(std::move(elements), family);
  } else {
    for (const Element& element : elements) {
      set.ranges.emplace_back(element.address, AddressBits(family));
    }
    set.ranges = Aggregate(std::move(set.ranges));
  }
  set.name.clear();
  return true;
}

bool Kernel::ReadFamily(Family family, FamilyState& out) {
  out.exists = true;
  MessageWriter chains;
  chains.Begin(MessageType(NFT_MSG_GETCHAIN), NLM_F_DUMP, ++sequence_, KernelFamily(family));
  chains.End();
  bool consistent = Dump(chains, [&](const NetfilterMessage& message) {
    if (TextOf(message.attributes, NFTA_CHAIN_TABLE) != kTableName) return;
    out.chains.push_back({.name = TextOf(message.attributes, NFTA_CHAIN_NAME),
                          .base = DecodeBase(message.attributes)});
  });
  if (!consistent) return false;
  MessageWriter rules;
  rules.Begin(MessageType(NFT_MSG_GETRULE), NLM_F_DUMP, ++sequence_, KernelFamily(family));
  rules.PutText(NFTA_RULE_TABLE, kTableName);
  rules.End();
  consistent = Dump(rules, [&](const NetfilterMessage& message) {
    if (TextOf(message.attributes, NFTA_RULE_TABLE) != kTableName) return;
    const auto chain = std::ranges::find(out.chains, TextOf(message.attributes, NFTA_RULE_CHAIN),
                                         &ChainState::name);
    if (chain == out.chains.end()) return;
    const auto expressions = FindAttribute(message.attributes, NFTA_RULE_EXPRESSIONS);
    const Bytes bytes = expressions ? expressions->value : Bytes();
    DecodedRule decoded = DecodeProgram(bytes, family);
    RuleState rule{.program = std::move(decoded.program), .counters = decoded.counters};
    if (std::ranges::any_of(rule.program, [](const Expression& expression) {
          return std::holds_alternative<Unknown>(expression);
        })) {
      rule.expressions.assign(bytes.begin(), bytes.end());
    }
    if (const auto data = FindAttribute(message.attributes, NFTA_RULE_USERDATA)) {
      rule.userdata.assign(data->value.begin(), data->value.end());
    }
    chain->rules.push_back(std::move(rule));
  });
  if (!consistent) return false;
  return ReadSets(family, out);
}

bool Kernel::ReadSets(Family family, FamilyState& out) {
  MessageWriter request;
  request.Begin(MessageType(NFT_MSG_GETSET), NLM_F_DUMP, ++sequence_, KernelFamily(family));
  request.PutText(NFTA_SET_TABLE, kTableName);
  request.End();
  std::vector<std::string> named;
  const bool consistent = Dump(request, [&named](const NetfilterMessage& message) {
    if (TextOf(message.attributes, NFTA_SET_TABLE) != kTableName) return;
    const auto flags = FindAttribute(message.attributes, NFTA_SET_FLAGS);
    if (flags && (flags->Big32().value_or(0) & NFT_SET_ANONYMOUS) != 0) return;
    named.push_back(TextOf(message.attributes, NFTA_SET_NAME));
  });
  if (!consistent) return false;
  out.unused_sets = named;
  for (ChainState& chain : out.chains) {
    for (RuleState& rule : chain.rules) {
      for (Expression& expression : rule.program) {
        auto* const set = std::get_if<InSet>(&expression);
        if (set == nullptr) continue;
        const std::string name = set->name;
        if (!ReadSet(family, *set)) return false;
        if (std::ranges::find(named, name) == named.end()) continue;
        chain.sets.push_back(name);
        std::erase(out.unused_sets, name);
      }
    }
  }
  return true;
}

State Kernel::Read() {
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    State out;
    out.generation = Generation();
    MessageWriter request;
    request.Begin(MessageType(NFT_MSG_GETTABLE), NLM_F_DUMP, ++sequence_, NFPROTO_UNSPEC);
    request.End();
    bool v4 = false;
    bool v6 = false;
    bool consistent = Dump(request, [&](const NetfilterMessage& message) {
      const std::uint8_t family = message.family;
      const std::string name = TextOf(message.attributes, NFTA_TABLE_NAME);
      if (name == kTableName && family == NFPROTO_IPV4) {
        v4 = true;
      } else if (name == kTableName && family == NFPROTO_IPV6) {
        v6 = true;
      } else {
        out.others.push_back({family, name});
      }
    });
    if (consistent && v4) consistent = ReadFamily(Family::kIpv4, out.v4);
    if (consistent && v6) consistent = ReadFamily(Family::kIpv6, out.v6);
    if (consistent && (!out.any() || Generation() == out.generation)) return out;
  }
  throw Error(ErrorKind::kFailed, {.doing = "read the rules of nf_tables",
                                   .target = {},
                                   .why = "another program keeps changing them",
                                   .help = "find out which, and run again"});
}

std::vector<std::string> Kernel::ChainsLikeOurs() {
  std::vector<std::string> out;
  MessageWriter request;
  request.Begin(MessageType(NFT_MSG_GETCHAIN), NLM_F_DUMP, ++sequence_, NFPROTO_UNSPEC);
  request.End();
  Dump(request, [&out](const NetfilterMessage& message) {
    const std::string table = TextOf(message.attributes, NFTA_CHAIN_TABLE);
    const std::string chain = TextOf(message.attributes, NFTA_CHAIN_NAME);
    const std::uint8_t family = message.family;
    if (!capture::IsOwnedChain(chain) || table == kTableName) return;
    if (family != NFPROTO_IPV4 && family != NFPROTO_IPV6 && family != NFPROTO_INET) return;
    const char* const name = family == NFPROTO_IPV4   ? "ip "
                             : family == NFPROTO_IPV6 ? "ip6 "
                                                      : "inet ";
    out.push_back(name + table + ", chain " + chain);
  });
  return out;
}

bool Kernel::Write(const State& before, const State& wanted, bool anew) {
  Batch batch(before.generation);
  for (const Family family : capture::kFamilies) {
    batch.Add(family, before.family(family), wanted.family(family), anew);
  }
  if (batch.empty()) return true;
  if (!MakeRoom(batch.Finish().size())) return WriteInParts(before, wanted, anew);
  return Commit(batch);
}

bool Kernel::WriteInParts(const State& before, const State& wanted, bool anew) {
  std::uint32_t generation = before.generation;
  // A generation is not used twice, so no older set has this name.
  const std::string stage = "ranges_" + std::to_string(generation) + "_";
  std::vector<Batch::StagedSet> sets;
  {
    Batch plan(generation, stage);
    for (const Family family : capture::kFamilies) {
      plan.Add(family, before.family(family), wanted.family(family), anew);
    }
    sets = plan.staged();
  }
  std::set<Family> made_tables;
  std::vector<const Batch::StagedSet*> made;
  const auto commit = [&](Batch& part) {
    part.Finish();
    if (!Commit(part)) return false;
    // Each transaction increases it by one; 0 is left out.
    if (++generation == 0) ++generation;
    return true;
  };
  const auto write = [&] {
    for (const Batch::StagedSet& set : sets) {
      const SetReference reference{.name = set.name};
      const std::vector<Element> elements = ToElements(set.ranges);
      for (std::size_t i = 0; i < elements.size();) {
        const bool first = i == 0;
        const bool needs_table = first && !before.family(set.family).exists;
        Batch part(generation);
        if (needs_table) part.MakeTable(set.family);
        if (first) part.MakeSet(set.family, reference, elements.size());
        i = part.FillSet(set.family, reference, elements, i);
        if (!commit(part)) return false;
        if (first) made.push_back(&set);
        if (needs_table) made_tables.insert(set.family);
      }
    }
    Batch last(generation, stage);
    for (const Family family : capture::kFamilies) {
      last.Add(family, before.family(family), wanted.family(family), anew);
    }
    if (!MakeRoom(last.Finish().size()))
      throw SystemError(EMSGSIZE, "write the rules of nf_tables");
    return Commit(last);
  };
  const auto take_back = [&] {
    Batch back(0);
    for (const Batch::StagedSet* const set : made) back.RemoveSet(set->family, set->name);
    for (const Family family : made_tables) back.RemoveTable(family);
    if (back.empty()) return;
    back.Finish();
    // Another program may have removed it. The next run removes what is left.
    try {
      Commit(back);
    } catch (const Error&) {
    }
  };
  try {
    if (write()) return true;
  } catch (...) {
    take_back();
    throw;
  }
  take_back();
  return false;
}

// Commits a finished batch. False if the rule set has changed since it was read.
bool Kernel::Commit(Batch& batch) {
  SendBatch(batch.bytes());
  bool done = false;
  std::optional<std::pair<int, std::uint32_t>> failure;
  while (const std::size_t received = Receive()) {
    Bytes rest(buffer_.get(), received);
    while (const auto message = TakeMessage(rest)) {
      if (message->type != NLMSG_ERROR) continue;
      if (message->error == 0) {
        done = done || message->sequence == batch.last();
      } else if (!failure) {
        failure = {message->error, message->sequence};
      }
    }
  }
  if (!failure && done) return true;
  if (!failure) failure = {EPROTO, 0};
  if (failure->first == ERESTART || failure->first == EAGAIN) return false;
  const Batch::Doing& doing = batch.doing(failure->second);
  if (failure->first == EPERM || failure->first == EACCES) throw NoPrivilege(doing.what);
  if (IsMissingFeature(failure->first)) {
    throw Error(
        ErrorKind::kKernelFeature,
        {.doing = doing.what,
         .target = {},
         .why = std::string("the kernel cannot do that (") + std::strerror(failure->first) + ")",
         .help = doing.needs.empty() ? "use --backend iptables"
                                     : "load " + doing.needs + ", or use --backend iptables"});
  }
  throw SystemError(failure->first, doing.what);
}

}  // namespace sluice::nftables
