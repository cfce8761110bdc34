// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/explain/question.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <optional>
#include <stdexcept>
#include <utility>

#include <boost/json.hpp>

#include "base/error.h"
#include "base/parse.h"

namespace sluice::init {
namespace {

namespace json = boost::json;
using capture::Protocol;

// As in capture/settings: 2^32 - 1 is "no user".
constexpr std::uint64_t kMaxId = 0xfffffffe;

[[noreturn]] void Refuse(const std::string& name, const std::string& value,
                         const std::string& expected) {
  throw Error(ErrorKind::kUsage, {.doing = "use \"" + value + "\" for " + name,
                                  .target = {},
                                  .why = "expected " + expected,
                                  .help = {}});
}

struct AddressAndPort {
  IpAddress ip;
  std::optional<std::uint16_t> port;
};

// "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80".
AddressAndPort ParseAddress(std::string_view text) {
  std::string_view address = text;
  std::string_view port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == text.npos) throw std::invalid_argument("']' after the address");
    address = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && port.front() != ':') throw std::invalid_argument("':' after ']'");
  } else if (const auto colon = text.find(':');
             colon != text.npos && text.find(':', colon + 1) == text.npos) {
    address = text.substr(0, colon);
    port = text.substr(colon);
  }
  AddressAndPort out{IpAddress::Parse(address).Unmapped(), {}};
  if (!port.empty()) out.port = static_cast<std::uint16_t>(ParseNumber(port.substr(1), 1, 65535));
  return out;
}

std::uint32_t ParseMark(std::string_view text) {
  if (!text.starts_with("0x")) return static_cast<std::uint32_t>(ParseNumber(text, 0, 0xffffffff));
  std::uint32_t out = 0;
  const auto [end, error] = std::from_chars(text.data() + 2, text.data() + text.size(), out, 16);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw std::invalid_argument("a number, such as 1337 or 0x539");
  }
  return out;
}

std::uint16_t ParseState(std::string_view text) {
  using namespace capture::explain;
  constexpr std::array<std::pair<std::string_view, std::uint16_t>, 5> kStates = {
      {{"NEW", kStateNew},
       {"ESTABLISHED", kStateEstablished},
       {"RELATED", kStateRelated},
       {"INVALID", kStateInvalid},
       {"UNTRACKED", kStateUntracked}}};
  for (const auto& [name, state] : kStates) {
    if (text == name) return state;
  }
  throw std::invalid_argument("NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED");
}

template <typename Parse>
auto Value(const std::string& name, const std::string& text, Parse parse) -> decltype(parse(text)) {
  try {
    return parse(text);
  } catch (const std::invalid_argument& error) {
    Refuse(name, text, error.what());
  }
}

// `flag` converts a field's name into its name in messages.
template <typename Flag>
Question Parse(const capture::ExplainText& text, Flag flag) {
  Question out;
  capture::explain::Connection& connection = out.connection;
  if (text.to.empty()) Refuse(flag("to"), "", "ADDRESS:PORT, such as 198.51.100.1:80");
  const AddressAndPort to = Value(flag("to"), text.to, ParseAddress);
  if (!to.port) Refuse(flag("to"), text.to, "a port as well, such as 198.51.100.1:80");
  connection.to = {to.ip, *to.port};
  if (!text.from.empty()) {
    const AddressAndPort from = Value(flag("from"), text.from, ParseAddress);
    if (from.ip.family() != to.ip.family()) {
      Refuse(flag("from"), text.from, "an address of the same family as the destination's");
    }
    connection.from = from.ip;
    if (from.port) {
      connection.from_port = *from.port;
      connection.from_port_known = true;
    }
  }
  connection.protocol = Value(flag("proto"), text.proto, [](std::string_view name) {
    if (name.empty() || name == "tcp") return Protocol::kTcp;
    if (name == "udp") return Protocol::kUdp;
    throw std::invalid_argument("tcp or udp");
  });
  if (!text.mark.empty()) connection.mark = Value(flag("mark"), text.mark, ParseMark);
  if (!text.ctstate.empty()) connection.state = Value(flag("ctstate"), text.ctstate, ParseState);
  const auto id = [&](const char* name, const std::string& value) -> std::optional<std::uint32_t> {
    if (value.empty()) return {};
    return Value(flag(name), value, [](std::string_view digits) {
      return static_cast<std::uint32_t>(ParseNumber(digits, 0, kMaxId));
    });
  };
  connection.uid = id("from-uid", text.from_uid);
  connection.gid = id("from-gid", text.from_gid);
  const bool sender = connection.uid || connection.gid;
  if (!text.in_interface.empty()) {
    if (sender) {
      Refuse(flag("in-interface"), text.in_interface,
             "nothing, since a sender is named: a connection is outbound or inbound");
    }
    connection.in_interface = text.in_interface;
    return out;
  }
  // Loopback addresses are always local.
  if (!sender && connection.from && !connection.from->IsLoopback()) {
    connection.in_interface = kUnnamedInterface;
    return out;
  }
  if (!sender) {
    connection.uid = getuid();
    connection.gid = getgid();
    out.notes.push_back("taken to be sent by uid " + std::to_string(*connection.uid) + ", gid " +
                        std::to_string(*connection.gid) + ", who asks; " + flag("from-uid") +
                        " and " + flag("from-gid") + " name another");
  } else if (!connection.gid) {
    connection.gid = connection.uid;
    out.notes.push_back("the primary group is taken to be " + std::to_string(*connection.gid) +
                        ", as the user; " + flag("from-gid") + " names another");
  } else if (!connection.uid) {
    connection.uid = connection.gid;
    out.notes.push_back("the user is taken to be " + std::to_string(*connection.uid) +
                        ", as the group; " + flag("from-uid") + " names another");
  }
  return out;
}

// A member in the form of a flag's value; a number becomes its digits.
std::string TextOf(const std::string& name, const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_int64() && value.get_int64() >= 0) return std::to_string(value.get_int64());
  if (value.is_uint64()) return std::to_string(value.get_uint64());
  Refuse("\"" + name + "\"", json::serialize(value), "a text or a number");
}

}  // namespace

Question ParseQuestion(const capture::ExplainText& text) {
  return Parse(text, [](const std::string& name) { return "--" + name; });
}

Question ParseQuestionJson(std::string_view line) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) {
    Refuse("a connection", std::string(line),
           R"(one JSON object a line, such as {"to":"198.51.100.1:80","from_uid":1000})");
  }
  capture::ExplainText text;
  for (const auto& [key, member] : value.get_object()) {
    const std::string name(key);
    std::string* field = nullptr;
    if (name == "to") field = &text.to;
    if (name == "from") field = &text.from;
    if (name == "from_uid") field = &text.from_uid;
    if (name == "from_gid") field = &text.from_gid;
    if (name == "in_interface") field = &text.in_interface;
    if (name == "proto") field = &text.proto;
    if (name == "mark") field = &text.mark;
    if (name == "ctstate") field = &text.ctstate;
    if (field == nullptr) {
      Refuse("a connection", name,
             "to, from, from_uid, from_gid, in_interface, proto, mark or ctstate");
    }
    if (!member.is_null()) *field = TextOf(name, member);
  }
  return Parse(text, [](std::string name) {
    for (char& c : name) {
      if (c == '-') c = '_';
    }
    return "\"" + name + "\"";
  });
}

}  // namespace sluice::init
