// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/text.h"

#include <vector>

#include "base/hex.h"
#include "nftables/program/program.h"
#include "nftables/program/rule_program.h"
#include "nftables/state.h"

namespace sluice::nftables {
namespace {

using capture::Mark;
using capture::Rule;

std::string AddressText(const Cidr& range) {
  const bool host = range.prefix_length() == AddressBits(range.family());
  return host ? range.address().ToString() : range.ToString();
}

std::string PortText(const PortRange& ports) {
  if (ports.first == ports.last) return std::to_string(ports.first);
  return std::to_string(ports.first) + "-" + std::to_string(ports.last);
}

class Writer {
 public:
  Writer(Family family, capture::Table table)
      : ip_(family == Family::kIpv4 ? "ip" : "ip6"), table_(table) {}

  std::string Take(const Rule& rule) {
    rule_ = &rule;
    if (rule.source) Address(" saddr ", *rule.source);
    if (rule.destination) Address(" daddr ", *rule.destination);
    if (rule.list) List(*rule.list);
    if (rule.in_interface) Interface(" iifname ", *rule.in_interface);
    if (rule.out_interface) Interface(" oifname ", *rule.out_interface);
    if (rule.protocol) out_ += " meta l4proto " + std::string(Name(*rule.protocol));
    for (const capture::Match& match : rule.matches) std::visit(*this, match);
    out_ += " counter";
    std::visit(*this, rule.target);
    return out_.substr(1);
  }

  void operator()(const capture::PortMatch& match) {
    const std::string protocol =
        rule_->protocol ? std::string(Name(*rule_->protocol)) : std::string("th");
    if (match.source) Option(" " + protocol + " sport ", *match.source, PortText);
    if (match.destination) Option(" " + protocol + " dport ", *match.destination, PortText);
  }
  void operator()(const capture::OwnerMatch& match) {
    const auto number = [](std::uint32_t value) { return std::to_string(value); };
    if (match.uid) Option(" meta skuid ", *match.uid, number);
    if (match.gid) Option(" meta skgid ", *match.gid, number);
  }
  void operator()(const capture::ConntrackStateMatch& match) {
    std::string states;
    if (match.invalid) states += ",invalid";
    if (match.established) states += ",established";
    if (match.related) states += ",related";
    out_ += " ct state " + states.substr(1);
  }
  void operator()(const capture::MarkMatch& match) { MarkIs(" meta mark", match.mark); }
  void operator()(const capture::ConnmarkMatch& match) { MarkIs(" ct mark", match.mark); }
  void operator()(const capture::SocketMatch&) { out_ += " socket transparent <= 1"; }

  void operator()(const capture::Accept&) { out_ += " accept"; }
  void operator()(const capture::Drop&) { out_ += " drop"; }
  void operator()(const capture::Return&) { out_ += " return"; }
  void operator()(const capture::Jump& jump) { out_ += " jump " + ChainName(table_, jump.chain); }
  void operator()(const capture::Goto& jump) { out_ += " goto " + ChainName(table_, jump.chain); }
  void operator()(const capture::Redirect& redirect) {
    out_ += " redirect to :" + std::to_string(redirect.port);
  }
  void operator()(const capture::Tproxy& tproxy) {
    out_ += " tproxy to :" + std::to_string(tproxy.port);
    Set("meta mark", tproxy.mark);
    out_ += " accept";
  }
  void operator()(const capture::SetMark& set) { Set("meta mark", set.mark); }
  void operator()(const capture::SaveConnmark& save) {
    Set("ct mark", Tested<capture::MarkMatch>(save.mask));
  }
  void operator()(const capture::RestoreConnmark& restore) {
    Set("meta mark", Tested<capture::ConnmarkMatch>(restore.mask));
  }
  void operator()(const capture::CtZone& zone) {
    out_ += " ct zone set " + std::to_string(zone.zone);
  }

 private:
  template <typename T, typename ToText>
  void Option(const std::string& name, const capture::Condition<T>& condition, ToText to_text) {
    out_ += name + (condition.negated ? "!= " : "") + to_text(condition.value);
  }
  void Address(const char* side, const capture::Condition<Cidr>& condition) {
    Option(" " + ip_ + side, condition, AddressText);
  }
  void Interface(const char* side, const capture::Condition<std::string>& condition) {
    Option(side, condition, [](std::string name) {
      if (name.ends_with('+')) name.back() = '*';
      return "\"" + name + "\"";
    });
  }
  void List(const capture::RangeList& list) {
    out_ += " " + ip_ + (list.of == capture::RangeOf::kSource ? " saddr {" : " daddr {");
    const char* separator = " ";
    for (const Cidr& range : list.ranges) {
      out_ += separator + AddressText(range);
      separator = ", ";
    }
    out_ += " }";
  }
  void MarkIs(const char* name, const capture::Condition<Mark>& condition) {
    out_ += name;
    const Mark& mark = condition.value;
    if (mark.mask != 0xffffffff) out_ += " & " + Hex(mark.mask);
    out_ += (condition.negated ? " != " : " == ") + Hex(mark.value);
  }
  void Set(const std::string& name, const Mark& mark) {
    out_ += " " + name + " set ";
    if (mark.mask != 0xffffffff) out_ += name + " & " + Hex(~mark.mask) + " | ";
    out_ += Hex(mark.value);
  }
  template <typename M>
  Mark Tested(std::uint32_t mask) const {
    return TestedMark<M>(*rule_, mask).value_or(Mark{0, mask});
  }

  std::string ip_;
  capture::Table table_;
  const Rule* rule_ = nullptr;
  std::string out_;
};

std::string ChainText(const std::string& name, const std::string& body) {
  return "\tchain " + name + " {\n" + body + "\t}\n";
}

std::string FamilyText(const capture::FamilyRules& rules) {
  const std::string name =
      (rules.family == Family::kIpv4 ? "ip " : "ip6 ") + std::string(kTableName);
  // Adding the table first makes the delete succeed in any case. All of it is one transaction.
  std::string out = "table " + name + "\ndelete table " + name + "\n";
  if (rules.empty()) return out;
  out += "table " + name + " {\n";
  const Comments comments = CommentsOf(rules);
  const auto body_of = [&](const auto& wanted, capture::Table table, const std::string& chain) {
    std::string body;
    const auto named = comments.find(chain);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      body += "\t\t" + NftText(wanted[i], rules.family, table);
      if (named != comments.end() && !named->second[i].empty()) {
        body += " comment \"" + named->second[i] + "\"";
      }
      body += "\n";
    }
    return body;
  };
  for (const capture::TableRules& table : rules.tables) {
    for (const capture::Hook hook : {capture::Hook::kPrerouting, capture::Hook::kOutput}) {
      std::vector<Rule> jumps;
      for (const capture::EntryJump& jump : table.jumps) {
        if (jump.hook == hook) jumps.push_back(jump.rule);
      }
      if (jumps.empty()) continue;
      const std::string chain = ChainName(table.table, Name(hook));
      const std::string body = body_of(jumps, table.table, chain);
      const Base base = BaseOf(table.table, hook);
      out += ChainText(chain, "\t\ttype " + base.type + " hook " +
                                  (hook == capture::Hook::kPrerouting ? "prerouting" : "output") +
                                  " priority " + std::to_string(base.priority) +
                                  "; policy accept;\n" + body);
    }
    for (const capture::Chain& chain : table.chains) {
      const std::string chain_name = ChainName(table.table, chain.name);
      out += ChainText(chain_name, body_of(chain.rules, table.table, chain_name));
    }
  }
  return out + "}\n";
}

}  // namespace

std::string NftText(const Rule& rule, Family family, capture::Table table) {
  return Writer(family, table).Take(rule);
}

std::string NftText(const capture::RuleSet& rules) {
  return FamilyText(rules.v4) + FamilyText(rules.v6);
}

}  // namespace sluice::nftables
