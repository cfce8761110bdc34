// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/admin.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include <boost/json.hpp>
#include <spdlog/spdlog.h>

#include "proxy/http/head.h"

namespace sluice::proxy {
namespace {

namespace json = boost::json;

constexpr std::string_view kLevelNames[] = {"trace", "debug", "info", "warn", "error", "off"};

HttpResponse Json(const json::value& value) {
  return {.status = 200, .content_type = "application/json", .body = json::serialize(value) + "\n"};
}

json::value Mtls(const MtlsConfig& mtls) {
  if (!mtls.enabled()) return nullptr;
  json::object bundles;
  for (const tls::TrustBundle& bundle : mtls.credentials.bundles) {
    bundles[bundle.trust_domain] = bundle.file;
  }
  json::array allow;
  for (const tls::SpiffePattern& pattern : mtls.allow) allow.emplace_back(pattern.ToString());
  json::array plaintext_ports;
  for (const PortRange& range : mtls.inbound_plaintext_ports) {
    plaintext_ports.emplace_back(range.ToString());
  }
  return json::object{{"credentials", mtls.credentials.directory},
                      {"trust_bundles", std::move(bundles)},
                      {"inbound", Name(mtls.inbound)},
                      {"allow", std::move(allow)},
                      {"inbound_plaintext_ports", std::move(plaintext_ports)},
                      {"min_version", mtls.oldest_tls == tls::OldestTls::k12 ? "1.2" : "1.3"},
                      {"ktls", mtls.ktls ? "auto" : "off"},
                      {"detection_timeout_ms", mtls.detection_timeout.count()},
                      {"outbound", mtls.outbound_file}};
}

HttpResponse ConfigDump(const AdminBackend& backend) {
  const ProxyConfig& config = *backend.config;
  json::array resolvers;
  for (const Nameserver& resolver : backend.dns_resolvers) {
    resolvers.emplace_back(resolver.address.ToString());
  }
  json::object out{
      {"outbound_port", config.outbound_port},
      {"inbound_port", config.inbound_port},
      {"concurrency", config.concurrency},
      {"mode", config.inbound_mode == InboundMode::kTproxy ? "TPROXY" : "REDIRECT"},
      {"inbound_proxy_protocol", config.inbound_proxy_protocol},
      {"inbound_upstream",
       config.inbound_upstream ? json::value(config.inbound_upstream->ToString()) : json::value()},
      {"sniff", config.sniff},
      {"splice", Name(config.splicing)},
      {"busy_poll", Name(config.busy_polling)},
      {"connect_timeout_ms", config.connect_timeout.count()},
      {"idle_timeout_ms", config.idle_timeout.count()},
      {"half_closed_timeout_ms", config.half_closed_timeout.value_or(config.idle_timeout).count()},
      {"max_connections", config.max_connections},
      {"access_log", config.access_log.empty() ? "off" : config.access_log},
      {"status_port", config.status_port},
      {"metrics_port", config.metrics_port},
      {"admin_port", config.admin_port},
      {"dns_port", config.dns_port},
      {"rules_graph", config.rules_graph},
      {"mtls", Mtls(config.mtls)},
      {"dns_resolvers", std::move(resolvers)},
  };
  return Json(out);
}

// Concurrent listings: with 20,000 connections each list takes 3 MB.
constexpr int kMaxListings = 2;
// The piece size of a streamed answer.
constexpr std::size_t kPieceBytes = 16 * 1024;
// A browser draws a page again every few seconds.
constexpr std::size_t kMaxRows = 2000;

// Counts a running answer with connections against the limit.
class Listing {
 public:
  explicit Listing(std::shared_ptr<std::atomic<int>> count) : count_(std::move(count)) {
    has_place_ = count_->fetch_add(1) < kMaxListings;
  }
  ~Listing() { count_->fetch_sub(1); }
  Listing(const Listing&) = delete;
  Listing& operator=(const Listing&) = delete;

  bool has_place() const { return has_place_; }
  std::vector<ConnectionInfo> connections;
  std::function<std::string(const ConnectionInfo&)> text_of;
  std::string_view separator;
  std::string_view end;
  std::size_t next = 0;  // index in `connections`
  bool is_closed = false;

 private:
  std::shared_ptr<std::atomic<int>> count_;
  bool has_place_ = false;
};

std::string ToJson(const ConnectionInfo& info) {
  json::object out{{"direction", Name(info.direction)},
                   {"state", info.state},
                   {"downstream_remote_address", info.downstream_remote.ToString()},
                   {"downstream_local_address", info.downstream_local.ToString()},
                   {"upstream_host", info.upstream_host.ToString()},
                   {"start_time_unix_ms", info.start_unix_ms},
                   {"bytes_received", info.bytes_received},
                   {"bytes_sent", info.bytes_sent}};
  if (!info.tls_version.empty()) {
    out["tls_version"] = info.tls_version;
    out["peer_uri_san"] = info.peer_uri_san;
  }
  return json::serialize(out);
}

std::string NextPiece(Listing& listing) {
  std::string out;
  while (listing.next < listing.connections.size() && out.size() < kPieceBytes) {
    if (listing.next > 0) out += listing.separator;
    out += listing.text_of(listing.connections[listing.next++]);
  }
  if (listing.next == listing.connections.size() && !listing.is_closed) {
    out += listing.end;
    listing.is_closed = true;
  }
  return out;
}

HttpResponse NoPlace() {
  return {.status = 503, .body = "other clients are reading the connections: try again\n"};
}

HttpResponse Page(const AdminBackend& backend) {
  const auto listing = std::make_shared<Listing>(backend.listings);
  if (!listing->has_place()) return NoPlace();
  listing->connections = backend.connections();
  const std::size_t open = listing->connections.size();
  listing->connections.resize(std::min(open, kMaxRows));
  const std::int64_t now = std::chrono::duration_cast<std::chrono::milliseconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
  listing->text_of = [now](const ConnectionInfo& info) { return PageRow(info, now); };
  listing->end = PageTail();
  const std::string& picture = backend.config->rules_graph;
  std::optional<RulesPicture> rules;
  if (!picture.empty()) rules = ReadRulesPicture(picture);
  return {
      .status = 200,
      .content_type = "text/html; charset=utf-8",
      .body = PageHead(*backend.config, backend.facts(), *backend.stats,
                       backend.history->Samples(*backend.stats, History::Clock::now()),
                       rules ? &*rules : nullptr,
                       {.shown = listing->connections.size(), .open = open, .now_unix_ms = now}),
      .next_piece = [listing] { return NextPiece(*listing); }};
}

HttpResponse Connections(const AdminBackend& backend) {
  const auto listing = std::make_shared<Listing>(backend.listings);
  if (!listing->has_place()) return NoPlace();
  listing->connections = backend.connections();
  listing->text_of = ToJson;
  listing->separator = ",";
  listing->end = "]}\n";
  return {.status = 200,
          .content_type = "application/json",
          .body = "{\"connections\":[",
          .next_piece = [listing] { return NextPiece(*listing); }};
}

HttpResponse Logging(const HttpRequest& request) {
  constexpr std::string_view kKey = "level=";
  if (request.method == "POST") {
    const std::string_view query = request.query;
    const std::string_view level = query.starts_with(kKey) ? query.substr(kKey.size()) : "";
    if (std::ranges::find(kLevelNames, level) == std::ranges::end(kLevelNames)) {
      return {.status = 400, .body = "level= must be trace, debug, info, warn, error or off\n"};
    }
    spdlog::set_level(spdlog::level::from_str(std::string(level)));
  }
  const auto name = spdlog::level::to_string_view(spdlog::get_level());
  return {.status = 200, .body = std::string(name.data(), name.size()) + "\n"};
}

// Whether `host`, with or without a port, is a loopback name. A foreign page whose name was made to
// resolve to 127.0.0.1 sends its own name here. RFC 9110, section 7.2: uri-host [ ":" *DIGIT ].
bool NamesLoopback(std::string_view host) {
  const std::size_t digits = host.find_last_not_of("0123456789");
  if (digits != std::string_view::npos && host[digits] == ':') host = host.substr(0, digits);
  // Names are the same in all cases, and the one with the dot of the root is the same name.
  return IsField(host, "localhost") || IsField(host, "localhost.") || host == "127.0.0.1" ||
         host == "[::1]";
}

// Takes equally long for all tokens of one length, however close they are.
bool IsEqual(std::string_view given, std::string_view expected) {
  if (given.size() != expected.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned>(given[i] ^ expected[i]);
  }
  return difference == 0;
}

std::optional<HttpResponse> Refusal(const HttpRequest& request, const AdminBackend& backend) {
  // HTTP/1.0 clients need not send a host; browsers always do.
  if (!request.host.empty() && !NamesLoopback(request.host)) {
    return HttpResponse{.status = 403, .body = "Host must be localhost, 127.0.0.1 or [::1]\n"};
  }
  // "none" means that the user typed the address.
  const bool is_cross_site = !request.fetch_site.empty() && request.fetch_site != "none" &&
                             request.fetch_site != "same-origin";
  if (!request.origin.empty() || is_cross_site) {
    return HttpResponse{.status = 403, .body = "refused: sent by a web page\n"};
  }
  if (backend.token.empty()) return std::nullopt;
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view shown = request.authorization;
  if (!shown.starts_with(kScheme) || !IsEqual(shown.substr(kScheme.size()), backend.token)) {
    return HttpResponse{.status = 401,
                        .body = "Authorization: Bearer, with the token of --admin-token-file\n"};
  }
  return std::nullopt;
}

}  // namespace

HttpResponse ServeAdmin(const HttpRequest& request, const AdminBackend& backend) {
  if (auto refusal = Refusal(request, backend)) return *std::move(refusal);
  const bool get = request.method == "GET";
  const bool post = request.method == "POST";
  if (request.path == "/drain") {
    if (!post) return {.status = 405, .body = "this changes something: POST it\n"};
    backend.drain();
    return {.status = 200, .body = "draining\n"};
  }
  if (request.path == "/logging" && (get || post)) {
    if (get && !request.query.empty()) {
      return {.status = 405, .body = "this changes something: POST it\n"};
    }
    return Logging(request);
  }
  const bool metrics = request.path == "/stats" || request.path == "/stats/prometheus";
  const bool page = request.path == "/";
  const bool known =
      metrics || page || request.path == "/config_dump" || request.path == "/connections";
  if (!known) {
    return {.status = 404,
            .body = "there are: / /config_dump /connections /drain /logging /stats\n"};
  }
  if (!get) return {.status = 405, .body = "GET only\n"};
  if (page) return Page(backend);
  if (request.path == "/config_dump") return ConfigDump(backend);
  if (request.path == "/connections") return Connections(backend);
  return {.status = 200,
          .content_type = "text/plain; version=0.0.4; charset=utf-8",
          .body = backend.metrics()};
}

}  // namespace sluice::proxy
