// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Detection from the first bytes of a connection. The input: how to cut the bytes into pieces (1
// byte), how many of them the client sends (2 bytes, little-endian), the client's, the server's.
#include <algorithm>
#include <span>
#include <string_view>

#include "proxy/sniff/mutual_tls_offer.h"
#include "proxy/sniff/sniff.h"
#include "test/fuzz/fuzz.h"

namespace sluice::proxy {
namespace {

using Bytes = std::span<const std::uint8_t>;
using fuzz::Require;

bool IsPrintable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

void RequireSaneResult(const Sniffer& sniffer) {
  const Sniffed* const seen = sniffer.result();
  if (seen == nullptr) return;
  Require(seen->spoken != Spoken::kUnknown, "a result says what is spoken");
  for (const std::string_view text :
       {std::string_view(seen->server_name), std::string_view(seen->method),
        std::string_view(seen->path), std::string_view(seen->authority),
        std::string_view(seen->user_agent), seen->protocol}) {
    Require(IsPrintable(text), "texts are printable");
  }
  Require(seen->server_name.size() <= kMaxServerName && seen->method.size() <= kMaxMethod &&
              seen->path.size() <= kMaxPath && seen->authority.size() <= kMaxAuthority &&
              seen->user_agent.size() <= kMaxUserAgent,
          "texts are bounded");
  Require(seen->response_code == 0 || (seen->response_code >= 100 && seen->response_code < 600),
          "a response code is one");
  Require(seen->spoken == Spoken::kHttp1 || (seen->method.empty() && seen->response_code == 0),
          "a request and a code belong to HTTP/1");
}

Sniffed Result(const Sniffer& sniffer) {
  RequireSaneResult(sniffer);
  return sniffer.result() == nullptr ? Sniffed{} : *sniffer.result();
}

// All at once, the client's first.
Sniffed AtOnce(Bytes client, Bytes server) {
  Sniffer sniffer;
  sniffer.FromClient(client);
  sniffer.FromServer(server);
  Require(!sniffer.WantsClient() || client.size() < kMaxSniffBytes, "bounded: the client's bytes");
  Require(!sniffer.WantsServer() || server.size() < kMaxSniffBytes, "bounded: the server's bytes");
  return Result(sniffer);
}

// In pieces of `size` bytes, alternating, the server's first.
Sniffed InPieces(Bytes client, Bytes server, std::size_t size) {
  Sniffer sniffer;
  while (!client.empty() || !server.empty()) {
    const std::size_t from_server = std::min(size, server.size());
    sniffer.FromServer(server.first(from_server));
    server = server.subspan(from_server);
    const std::size_t from_client = std::min(size, client.size());
    sniffer.FromClient(client.first(from_client));
    client = client.subspan(from_client);
    RequireSaneResult(sniffer);
  }
  Sniffed seen = Result(sniffer);
  sniffer.Stop();
  Require(Result(sniffer) == seen, "stopping keeps the result");
  return seen;
}

// What permissive mutual TLS makes of the client's bytes, as they come.
void OfferInPieces(Bytes client, std::size_t size) {
  const MtlsOffer whole = OffersMutualTls(client);
  MtlsOffer before = MtlsOffer::kNeedMore;
  for (std::size_t end = 0; end <= client.size(); end += size) {
    const MtlsOffer now = OffersMutualTls(client.first(end));
    Require(before == MtlsOffer::kNeedMore || now == before, "what was decided stays");
    Require(now == MtlsOffer::kNeedMore || now == whole, "more bytes do not change it");
    before = now;
  }
  Require(client.size() < kMaxSniffBytes || whole != MtlsOffer::kNeedMore, "it ends");
  if (whole != MtlsOffer::kYes) return;
  Require(client[0] == 22 && client[1] == 3, "an offer is TLS");
}

}  // namespace
}  // namespace sluice::proxy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::proxy;  // NOLINT(google-build-using-namespace): the whole of a program
  const auto streams = sluice::fuzz::TakeStreams({data, size});
  if (!streams) return 0;
  const auto& [piece, client, server] = *streams;
  OfferInPieces(client, piece);
  Require(InPieces(client, server, piece) == AtOnce(client, server),
          "how the bytes arrive does not matter");
  return 0;
}
