// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// HTTP/1 and HTTP/2 through both stages of an exchange, and through the relay, which splices what
// they let pass. The input: how to cut the bytes into pieces
// (1 byte), how many of them the client sends (2 bytes, little-endian), the client's, the server's.
#include <algorithm>
#include <span>
#include <string>
#include <string_view>

#include "test/fuzz/fuzz.h"
#include "test/unit/http/drive.h"
#include "test/unit/http/relayed.h"

namespace sluice::proxy {
namespace {

using fuzz::Require;

std::string_view Text(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What has come of it. Times are in no header and no comparison.
struct Outcome {
  std::string to_server;
  std::string to_client;
  std::string records;
  bool cut = false;
  bool response_ended = false;
  int request_error = 0;
  int response_error = 0;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

RewriteRules Rules() {
  HttpHeaderSet headers;
  headers.Add(HttpHeaders::kServer);
  headers.Add(HttpHeaders::kForwardedProto);
  return {.direction = Direction::kInbound, .headers = headers, .client_certificate = {}};
}

// A date is in answers of our own.
std::string WithoutDates(std::string text) {
  for (std::size_t at = 0; (at = text.find("\r\ndate: ", at)) != std::string::npos;) {
    const std::size_t end = std::min(text.find("\r\n", at + 2), text.size());
    text.erase(at, end - at);
  }
  return text;
}

// All of the client's bytes come first: which answer is an answer to nothing depends on that.
template <typename Exchange>
void Feed(Exchange& exchange, std::string_view client, std::string_view server, std::size_t piece) {
  for (std::size_t i = 0; i < client.size(); i += piece) {
    exchange.FromClient(client.substr(i, piece));
  }
  for (std::size_t i = 0; i < server.size(); i += piece) {
    exchange.FromServer(server.substr(i, piece));
  }
  exchange.EndServer();
  exchange.EndClient();
}

// The texts and the records; what is counted must have come.
template <typename Exchange>
Outcome OutcomeOf(const Exchange& played, std::string_view client, std::string_view server) {
  Outcome out{.to_server = played.to_server(),
              .to_client = WithoutDates(played.to_client()),
              .records = {},
              .cut = played.cut()};
  if (played.exchange.is_http2()) {
    Require(out.to_server == client && played.to_client() == server, "HTTP/2 passes as it is");
  }
  return out;
}

void AddRecords(HttpExchange& exchange, std::string_view client, std::string_view server,
                Outcome& out) {
  for (const HttpRecord& record : exchange.records()) {
    out.records += record.method + ' ' + record.path + ' ' + record.authority + ' ' +
                   std::to_string(record.status) + ' ' + std::string(record.flags);
    // Those of a tunnel are the session's.
    if (!exchange.is_tunnel()) {
      out.records +=
          ' ' + std::to_string(record.request_bytes) + ' ' + std::to_string(record.response_bytes);
    }
    out.records += '\n';
    Require(record.request_bytes <= client.size(), "bytes of a request that came");
    Require(record.response_bytes <= server.size() + 200, "bytes of an answer that came");
  }
}

Outcome Play(std::string_view client, std::string_view server, std::size_t piece) {
  DrivenExchange driven(Rules());
  Feed(driven, client, server, piece);
  driven.exchange.Close(driven.request.passes(), driven.response.passes(), "DC");
  Outcome out = OutcomeOf(driven, client, server);
  out.response_ended = driven.response.ended();
  out.request_error = driven.request.error;
  out.response_error = driven.response.error;
  Require(out.request_error >= 0 && out.response_error >= 0, "the contract of a stage");
  AddRecords(driven.exchange, client, server, out);
  return out;
}

// With sockets, and everything spliced that may be.
Outcome PlaySpliced(std::string_view client, std::string_view server, std::size_t piece) {
  static RelayResources resources;
  resources.splicing = Splicing::kOn;
  RelayedExchange relayed(Rules(), resources);
  Feed(relayed, client, server, piece);
  relayed.exchange.Close(relayed.request_passes(), relayed.response_passes(), "DC");
  Outcome out = OutcomeOf(relayed, client, server);
  out.response_ended = relayed.response.ended();
  out.request_error = relayed.request.error();
  out.response_error = relayed.response.error();
  AddRecords(relayed.exchange, client, server, out);
  return out;
}

// What the relay has not sent yet when a stage refuses the stream is not sent.
void TakeCutOff(int error, const std::string& whole, std::string& text) {
  if (error != 0 && whole.starts_with(text)) text = whole;
}

}  // namespace
}  // namespace sluice::proxy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::proxy;  // NOLINT(google-build-using-namespace): the whole of a program
  const auto streams = sluice::fuzz::TakeStreams({data, size});
  if (!streams) return 0;
  const std::string_view client = Text(streams->client);
  const std::string_view server = Text(streams->server);
  const Outcome whole = Play(client, server, size);
  Require(Play(client, server, streams->piece) == whole, "how the bytes arrive does not matter");
  // Sockets take most of the time.
  if (streams->piece % 4 != 0) return 0;
  Outcome spliced = PlaySpliced(client, server, streams->piece);
  TakeCutOff(spliced.request_error, whole.to_server, spliced.to_server);
  TakeCutOff(spliced.response_error, whole.to_client, spliced.to_client);
  Require(spliced == whole, "nor how they are moved");
  return 0;
}
