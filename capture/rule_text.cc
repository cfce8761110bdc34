// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/rule_text.h"

#include <ostream>

#include "base/hex.h"

namespace sluice::capture {
namespace {

// "0x539/0x7ff"; iptables omits a full mask in a match, but writes it in a target.
std::string MatchText(const Mark& mark) {
  return mark.mask == 0xffffffff ? Hex(mark.value) : Hex(mark.value) + "/" + Hex(mark.mask);
}
std::string TargetText(const Mark& mark) { return Hex(mark.value) + "/" + Hex(mark.mask); }

std::string PortText(const PortRange& range) {
  if (range.first == range.last) return std::to_string(range.first);
  return std::to_string(range.first) + ":" + std::to_string(range.last);
}

// Writes the words of one rule, each with a space before it.
class Writer {
 public:
  Writer(const Rule& rule, Ranges ranges) : rule_(rule), ranges_(ranges) {}

  std::string Write() {
    if (rule_.source) Option(" -s ", *rule_.source, rule_.source->value.ToString());
    if (rule_.destination) Option(" -d ", *rule_.destination, rule_.destination->value.ToString());
    if (rule_.list) List(*rule_.list);
    if (rule_.in_interface) Option(" -i ", *rule_.in_interface, rule_.in_interface->value);
    if (rule_.out_interface) Option(" -o ", *rule_.out_interface, rule_.out_interface->value);
    if (rule_.protocol) out_ += " -p " + std::string(Name(*rule_.protocol));
    for (const Match& match : rule_.matches) std::visit(*this, match);
    std::visit(*this, rule_.target);
    return out_.substr(1);
  }

  void operator()(const PortMatch& match) {
    out_ += " -m " + std::string(Name(rule_.protocol.value_or(Protocol::kTcp)));
    if (match.source) Option(" --sport ", *match.source, PortText(match.source->value));
    if (match.destination) {
      Option(" --dport ", *match.destination, PortText(match.destination->value));
    }
  }
  void operator()(const OwnerMatch& match) {
    out_ += " -m owner";
    if (match.uid) Option(" --uid-owner ", *match.uid, std::to_string(match.uid->value));
    if (match.gid) Option(" --gid-owner ", *match.gid, std::to_string(match.gid->value));
  }
  void operator()(const ConntrackStateMatch& match) {
    out_ += " -m conntrack --ctstate ";
    std::string states;
    if (match.invalid) states += ",INVALID";
    if (match.related) states += ",RELATED";
    if (match.established) states += ",ESTABLISHED";
    out_ += states.substr(1);
  }
  void operator()(const SocketMatch&) { out_ += " -m socket --nowildcard"; }
  void operator()(const MarkMatch& match) {
    out_ += " -m mark";
    Option(" --mark ", match.mark, MatchText(match.mark.value));
  }
  void operator()(const ConnmarkMatch& match) {
    out_ += " -m connmark";
    Option(" --mark ", match.mark, MatchText(match.mark.value));
  }

  void operator()(const Accept&) { out_ += " -j ACCEPT"; }
  void operator()(const Drop&) { out_ += " -j DROP"; }
  void operator()(const Return&) { out_ += " -j RETURN"; }
  void operator()(const Jump& jump) { out_ += " -j " + jump.chain; }
  void operator()(const Goto& jump) { out_ += " -g " + jump.chain; }
  void operator()(const Redirect& redirect) {
    out_ += " -j REDIRECT --to-ports " + std::to_string(redirect.port);
  }
  void operator()(const Tproxy& tproxy) {
    // Without --on-ip, which save adds as the family's "any address": so one text serves both.
    out_ += " -j TPROXY --on-port " + std::to_string(tproxy.port) + " --tproxy-mark " +
            TargetText(tproxy.mark);
  }
  void operator()(const SetMark& set) { out_ += " -j MARK --set-xmark " + TargetText(set.mark); }
  void operator()(const SaveConnmark& save) {
    out_ += " -j CONNMARK --save-mark --nfmask " + Hex(save.mask) + " --ctmask " + Hex(save.mask);
  }
  void operator()(const RestoreConnmark& restore) {
    out_ += " -j CONNMARK --restore-mark --nfmask " + Hex(restore.mask) + " --ctmask " +
            Hex(restore.mask);
  }
  void operator()(const CtZone& zone) { out_ += " -j CT --zone " + std::to_string(zone.zone); }

 private:
  // iptables(8) also takes a list, and makes one rule for each range.
  void List(const RangeList& list) {
    const std::size_t shown = ranges_ == Ranges::kAll ? list.ranges.size() : 4;
    out_ += list.of == RangeOf::kSource ? " -s " : " -d ";
    for (std::size_t i = 0; i < list.ranges.size() && i < shown; ++i) {
      if (i != 0) out_ += ',';
      out_ += list.ranges[i].ToString();
    }
    if (list.ranges.size() > shown) {
      out_ += ",... (" + std::to_string(list.ranges.size()) + " ranges)";
    }
  }

  template <typename T>
  void Option(std::string_view flag, const Condition<T>& condition, const std::string& value) {
    if (condition.negated) out_ += " !";
    out_ += flag;
    out_ += value;
  }

  const Rule& rule_;
  Ranges ranges_;
  std::string out_;
};

}  // namespace

std::string ToText(const Rule& rule, Ranges ranges) { return Writer(rule, ranges).Write(); }

std::ostream& operator<<(std::ostream& out, const Rule& rule) { return out << ToText(rule); }

}  // namespace sluice::capture
