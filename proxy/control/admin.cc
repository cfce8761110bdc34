// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/admin.h"

#include <algorithm>

#include <boost/json.hpp>
#include <spdlog/spdlog.h>

namespace sluice::proxy {
namespace {

namespace json = boost::json;

constexpr std::string_view kLevelNames[] = {"trace", "debug", "info", "warn", "error", "off"};

HttpResponse Json(const json::value& value) {
  return {.status = 200, .content_type = "application/json", .body = json::serialize(value) + "\n"};
}

HttpResponse ConfigDump(const AdminBackend& backend) {
  const ProxyConfig& config = *backend.config;
  json::array resolvers;
  for (const dns::DnsResolver& resolver : backend.dns_resolvers) {
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
      {"dns_resolvers", std::move(resolvers)},
  };
  return Json(out);
}

HttpResponse Connections(const std::vector<ConnectionInfo>& connections) {
  json::array out;
  for (const ConnectionInfo& info : connections) {
    out.push_back(json::object{{"direction", Name(info.direction)},
                               {"state", info.state},
                               {"downstream_remote_address", info.downstream_remote.ToString()},
                               {"downstream_local_address", info.downstream_local.ToString()},
                               {"upstream_host", info.upstream_host.ToString()},
                               {"start_time_unix_ms", info.start_unix_ms},
                               {"bytes_received", info.bytes_received},
                               {"bytes_sent", info.bytes_sent}});
  }
  return Json(json::object{{"connections", std::move(out)}});
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

}  // namespace

HttpResponse ServeAdmin(const HttpRequest& request, const AdminBackend& backend) {
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
  const bool known = metrics || request.path == "/config_dump" || request.path == "/connections";
  if (!known) {
    return {.status = 404, .body = "there are: /config_dump /connections /drain /logging /stats\n"};
  }
  if (!get) return {.status = 405, .body = "GET only\n"};
  if (request.path == "/config_dump") return ConfigDump(backend);
  if (request.path == "/connections") return Connections(backend.connections());
  return {.status = 200,
          .content_type = "text/plain; version=0.0.4; charset=utf-8",
          .body = backend.metrics()};
}

}  // namespace sluice::proxy
