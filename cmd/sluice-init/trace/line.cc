// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/trace/line.h"

#include <boost/json.hpp>

#include "base/text/utc_time.h"
#include "cmd/sluice-init/explain/place.h"

namespace sluice::init {
namespace {

using capture::explain::Landing;
using trace::KnownBy;

// What a terminal could take for a command is left out: anybody may name a process.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  }
  return text;
}

boost::json::object AddressJson(const SocketAddress& address) {
  return {{"address", address.ip.ToString()}, {"port", address.port}};
}

}  // namespace

std::string TraceText(const TracedConnection& connection) {
  const trace::Attribution& attribution = connection.attribution;
  const trace::Tuple& tuple = connection.seen.original;
  std::string out = UtcTime(connection.time, 6) + " " + std::string(capture::Name(tuple.protocol)) +
                    " " + tuple.from.ToString() + " to " + tuple.to.ToString();
  if (connection.uid) out += ", uid " + std::to_string(*connection.uid);
  if (connection.holder) {
    out += " (" + Printable(connection.holder->command) + ", pid " +
           std::to_string(connection.holder->pid) + ")";
  }
  out += ": " + std::string(Name(attribution.landing));
  if (attribution.port != 0) out += ", port " + std::to_string(attribution.port);
  if (attribution.decided) {
    const Place place = PlaceOf(*attribution.decided);
    out += attribution.known_by == KnownBy::kTrace ? ", by " : ", by explanation: ";
    out += Where(place);
    if (!attribution.decided->chain || !attribution.decided->chain->ours) {
      out += ": " + place.text;
    } else if (!place.flag.empty()) {
      out += " [" + place.flag + "]";
    } else if (!place.why.empty()) {
      out += " (" + place.why + ")";
    }
    const auto cause = attribution.port != 0 ? CauseOf(attribution.path) : std::nullopt;
    if (cause) out += ", because of " + cause->get()->flag;
  } else if (attribution.known_by != KnownBy::kNothing) {
    out += ", by no rule";
  }
  for (const std::string& note : attribution.notes) out += "; " + note;
  return out + "\n";
}

std::string TraceJson(const TracedConnection& connection) {
  const trace::Attribution& attribution = connection.attribution;
  const trace::Tuple& tuple = connection.seen.original;
  boost::json::object from = AddressJson(tuple.from);
  from["uid"] = nullptr;
  if (connection.uid) from["uid"] = *connection.uid;
  from["pid"] = nullptr;
  from["command"] = nullptr;
  if (connection.holder) {
    from["pid"] = connection.holder->pid;
    from["command"] = Printable(connection.holder->command);
  }
  boost::json::object out;
  out["time"] = UtcTime(connection.time, 6);
  out["proto"] = capture::Name(tuple.protocol);
  out["family"] = sluice::Name(tuple.to.ip.family());
  out["from"] = std::move(from);
  out["to"] = AddressJson(tuple.to);
  out["landing"] = Name(attribution.landing);
  out["port"] = attribution.port;
  out["arrives_at"] = nullptr;
  if (connection.seen.reply) out["arrives_at"] = AddressJson(connection.seen.reply->from);
  out["decided_by"] = nullptr;
  if (attribution.decided) out["decided_by"] = PlaceJson(*attribution.decided);
  out["known_by"] = nullptr;
  if (attribution.known_by == KnownBy::kTrace) out["known_by"] = "trace";
  if (attribution.known_by == KnownBy::kExplanation) out["known_by"] = "explanation";
  boost::json::array& notes = out["notes"].emplace_array();
  for (const std::string& note : attribution.notes) notes.push_back(boost::json::value(note));
  for (const std::string& note :
       AdviceOf(attribution.landing, attribution.decided, attribution.path)) {
    notes.push_back(boost::json::value(note));
  }
  return boost::json::serialize(out) + "\n";
}

}  // namespace sluice::init
