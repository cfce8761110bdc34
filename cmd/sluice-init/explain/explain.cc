// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/explain/explain.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <boost/json.hpp>

#include "base/error.h"
#include "base/os/read_all.h"
#include "base/pod_contract.h"
#include "capture/capture_rules.h"
#include "cmd/sluice-init/explain/kernel_host.h"
#include "cmd/sluice-init/explain/place.h"
#include "cmd/sluice-init/explain/question.h"
#include "iptables/layout/xt_model.h"
#include "iptables/xt_reader.h"
#include "nftables/model/model.h"
#include "nftables/model/reader.h"
#include "trace/attribution.h"

namespace sluice::init {
namespace {

namespace json = boost::json;
using namespace capture::explain;

struct Answer {
  Connection connection;
  Explanation explanation;
  std::vector<std::string> notes;
};

std::string ToJson(const Answer& answer) {
  const Outcome& outcome = answer.explanation.outcome;
  json::object out;
  out["landing"] = Name(outcome.landing);
  out["port"] = outcome.port;
  out["family"] = sluice::Name(answer.connection.to.ip.family());
  if (outcome.decided) {
    out["decided_by"] = PlaceJson(*outcome.decided);
  } else {
    out["decided_by"] = nullptr;
  }
  json::array path;
  for (const PathEntry& entry : outcome.path) path.push_back(PlaceJson(entry));
  out["path"] = std::move(path);
  json::array notes;
  for (const std::string& note : answer.notes) notes.push_back(json::value(note));
  out["notes"] = std::move(notes);
  return json::serialize(out) + "\n";
}

std::string Describe(const Outcome& outcome) {
  std::string out(Name(outcome.landing));
  if (outcome.port != 0) out += ", port " + std::to_string(outcome.port);
  return out;
}

std::string Describe(const Connection& connection) {
  std::string out = std::string(capture::Name(connection.protocol)) + " ";
  if (connection.from) out += "from " + connection.from->ToString() + " ";
  out += "to " + connection.to.ToString();
  if (connection.inbound()) return out + " by " + connection.in_interface;
  if (connection.uid) out += " as uid " + std::to_string(*connection.uid);
  if (connection.gid) out += ", gid " + std::to_string(*connection.gid);
  return out;
}

std::string ToText(const Answer& answer) {
  const Outcome& outcome = answer.explanation.outcome;
  std::string out = Describe(answer.connection) + ": " + Describe(outcome) + "\n";
  if (outcome.decided) {
    const Place place = PlaceOf(*outcome.decided);
    out += "decided by " + Where(place) + ": " + place.text + "\n";
    if (!place.flag.empty()) out += "  which is there because of " + place.flag + "\n";
    if (!place.why.empty()) out += "  " + place.why + "\n";
  }
  if (!outcome.path.empty()) out += "path:\n";
  for (const PathEntry& entry : outcome.path) {
    const Place place = PlaceOf(entry);
    out += "  " + Where(place) + ": " + place.text;
    if (!place.flag.empty()) out += "  [" + place.flag + "]";
    if (entry.uncertain) out += "  (unknown whether it matches)";
    out += "\n";
  }
  if (!answer.notes.empty()) out += "notes:\n";
  for (const std::string& note : answer.notes) out += "  " + note + "\n";
  return out;
}

// --- the answer ---
class Explainer {
 public:
  Explainer(const capture::InitConfig& config, const Model& model, netns::NetworkState& network)
      : model_(model), host_(network, config.planned), walker_(model, host_) {
    uid_ = config.capture.proxy_uids.empty() ? pod::kProxyId : config.capture.proxy_uids.front();
    gid_ = config.capture.proxy_gids.empty() ? uid_ : config.capture.proxy_gids.front();
    mark_ = capture::MarksOf(config.capture).inbound.value;
    if (!config.planned) TakeFromRules();
  }

  Answer Of(Question question) {
    Answer answer;
    Connection& connection = question.connection;
    if (connection.inbound()) NameInterface(question);
    answer.explanation = walker_.Explain(connection);
    answer.notes = std::move(question.notes);
    const Outcome& outcome = answer.explanation.outcome;
    const auto add = [&answer](const std::string& note) {
      if (std::ranges::find(answer.notes, note) == answer.notes.end()) answer.notes.push_back(note);
    };
    for (const std::string& note : outcome.notes) add(note);
    for (const std::string& note : model_.notes) add(note);
    if (outcome.landing == Landing::kUnknown) AddCandidates(answer.explanation, add);
    for (const std::string& note : AdviceOf(outcome.landing, outcome.decided, outcome.path))
      add(note);
    if (!HasRules(connection.to.ip.family())) {
      add("there are no rules of Sluice for " +
          std::string(sluice::Name(connection.to.ip.family())));
    }
    AddSecondHalf(connection, outcome, add);
    answer.connection = connection;
    return answer;
  }

 private:
  // Takes the proxy's settings from the installed rules, whatever the configuration says.
  void TakeFromRules() {
    bool uid = false, gid = false;
    for (const ModelTable& table : model_.tables) {
      for (const ModelChain& chain : table.chains) {
        for (const ModelRule& rule : chain.rules) {
          const auto take = [&rule](std::string_view flag, bool& done, std::uint32_t& id) {
            if (done || !rule.flag.starts_with(flag)) return;
            id = static_cast<std::uint32_t>(std::stoul(rule.flag.substr(flag.size())));
            done = true;
          };
          take("--proxy-uid=", uid, uid_);
          take("--proxy-gid=", gid, gid_);
          if (!chain.ours || !rule.known) continue;
          if (const auto* tproxy = std::get_if<capture::Tproxy>(&rule.known->target)) {
            mark_ = tproxy->mark.value;
          }
        }
      }
    }
  }

  bool HasRules(Family family) const {
    return std::ranges::any_of(model_.tables, [family](const ModelTable& table) {
      return table.family == family &&
             std::ranges::any_of(table.chains, [](const ModelChain& chain) { return chain.ours; });
    });
  }

  // An inbound connection arrives on the interface of the route to its source.
  void NameInterface(Question& question) {
    Connection& connection = question.connection;
    if (connection.in_interface != kUnnamedInterface) {
      if (model_.planned || host_.HasInterface(connection.in_interface)) return;
      throw Error(ErrorKind::kUsage,
                  {.doing = "use \"" + connection.in_interface + "\" as the interface",
                   .target = {},
                   .why = "there is no such interface in this network namespace",
                   .help = {}});
    }
    connection.in_interface.clear();
    if (!model_.planned && host_.IsOwn(*connection.from)) {
      // From a local address: outbound, from any user.
      connection.uid = 0;
      connection.gid = 0;
      question.notes.push_back(connection.from->ToString() +
                               " is an address of this namespace: taken to be sent from here, by "
                               "uid 0");
      return;
    }
    const RouteAnswer route = host_.Route({.to = *connection.from});
    connection.in_interface = route.device.empty() ? "eth0" : route.device;
    question.notes.push_back("taken to come by " + connection.in_interface +
                             ", which leads back to its source");
  }

  template <typename Add>
  static void AddCandidates(const Explanation& explanation, Add add) {
    for (const Outcome& one : explanation.candidates) {
      std::string text = "it may be: " + Describe(one);
      if (one.decided) text += ", by " + Where(PlaceOf(*one.decided));
      if (one.landing == Landing::kUnknown) {
        text = "it may be decided by what is not known";
        if (one.decided) text += ": " + Where(PlaceOf(*one.decided));
      }
      add(text);
      for (const std::string& note : one.notes) add(note);
      for (const std::string& doubt : one.doubts) add(doubt);
      for (const PathEntry& entry : one.path) {
        if (entry.uncertain && entry.get() != nullptr) {
          add("not known of " + Where(PlaceOf(entry)) + ": " + entry.get()->text);
        }
      }
    }
  }

  // What the proxy does with the connection, and where that leads.
  template <typename Add>
  void AddSecondHalf(Connection connection, Outcome outcome, Add add) {
    std::vector<Landing> seen;
    while (true) {
      const Landing landing = outcome.landing;
      Connection next = connection;
      next.in_interface.clear();
      next.uid = uid_;
      next.gid = gid_;
      next.mark = 0;
      next.state = kStateNew;
      next.from.reset();
      next.from_port_known = false;
      std::string who = "the proxy (uid " + std::to_string(uid_) + ") connects to ";
      if (landing == Landing::kInbound && outcome.tproxied) {
        next.from = outcome.source;
        next.mark = mark_;
        who = "the proxy (uid " + std::to_string(uid_) + ", mark " + std::to_string(mark_) +
              ", from the client's address) connects to ";
      } else if (landing == Landing::kInbound) {
        next.from = pod::PassthroughSource(connection.to.ip.family());
        who = "the proxy (uid " + std::to_string(uid_) + ", from " + next.from->ToString() +
              ") connects to ";
      } else if (landing == Landing::kDns) {
        who = "the DNS proxy (uid " + std::to_string(uid_) + ") asks ";
      } else if (landing != Landing::kOutbound) {
        return;
      }
      seen.push_back(landing);
      const Explanation explanation = walker_.Explain(next);
      std::string note = "then " + who + next.to.ToString() + ": " + Describe(explanation.outcome);
      const bool again = std::ranges::find(seen, explanation.outcome.landing) != seen.end();
      if (again) note += "; captured again: a loop";
      if (explanation.outcome.decided) {
        note += ", by " + Where(PlaceOf(*explanation.outcome.decided));
      }
      add(note);
      if (again) return;
      connection = next;
      outcome = explanation.outcome;
    }
  }

  const Model& model_;
  KernelHost host_;
  Walker walker_;
  std::uint32_t uid_ = pod::kProxyId;
  std::uint32_t gid_ = pod::kProxyId;
  std::uint32_t mark_ = pod::kTproxyMark;
};

std::string ReadBatch(const std::string& path) {
  std::string text;
  if (const int error = ReadFile(path, text); error != 0) {
    throw Error(ErrorKind::kUsage, {.doing = "read the connections",
                                    .target = path,
                                    .why = std::strerror(error),
                                    .help = "give a file of JSON Lines, or - for standard input"});
  }
  return text;
}

}  // namespace

Model ReadInstalled(Unreadable unreadable) {
  Model model;
  iptables::TableNames names;
  try {
    iptables::ReadModel(names, model);
  } catch (const Error& error) {
    if (unreadable == Unreadable::kFails || error.kind() != ErrorKind::kPrivilege) throw;
    model.tables.clear();
    model.notes.push_back("the rules of x_tables cannot be read: " + error.text().why);
  }
  try {
    nftables::Kernel kernel;
    nftables::AddModel(nftables::ReadRuleset(kernel), iptables::DecodeExtension, model);
  } catch (const Error& error) {
    // A kernel without nf_tables has no rules there.
    if (error.kind() != ErrorKind::kKernelFeature) throw;
  }
  Finish(model);
  // Of a running trace: it has no part in where packets go.
  std::erase_if(model.tables,
                [](const ModelTable& table) { return table.name.starts_with(trace::kTableNames); });
  return model;
}

Model PlanModel(const capture::InitConfig& config, const capture::Backend& backend) {
  return ModelFor(capture::BuildRules(config.capture), backend);
}

Model ModelFor(const capture::RuleSet& rules, const capture::Backend& backend) {
  const capture::RuleSet compiled = backend.Compile(rules);
  if (backend.Name() == "nftables") return nftables::PlannedModel(compiled);
  return ModelOf(compiled, backend.Name());
}

std::string Explain(const capture::InitConfig& config, const Model& model,
                    netns::NetworkState& network) {
  Explainer explainer(config, model, network);
  const auto print = [&config](const Answer& answer) {
    return config.json_output ? ToJson(answer) : ToText(answer);
  };
  if (config.batch.empty()) return print(explainer.Of(ParseQuestion(config.explain)));
  const std::string text = ReadBatch(config.batch);
  std::string out;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    try {
      if (!config.json_output && !out.empty()) out += "\n";
      out += print(explainer.Of(ParseQuestionJson(line)));
    } catch (const Error& error) {
      ErrorText named = error.text();
      named.target = "line " + std::to_string(number) + " of " + config.batch;
      throw Error(error.kind(), named);
    }
  }
  return out;
}

}  // namespace sluice::init
