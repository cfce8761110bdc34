// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/metrics.h"

#include <time.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <span>
#include <sstream>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace sluice::proxy {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr Direction kDirections[] = {Direction::kOutbound, Direction::kInbound};

std::string Reporter(Direction direction) {
  return direction == Direction::kOutbound ? "source" : "destination";
}

using Read = std::function<std::uint64_t(const DirectionStats&)>;

std::uint64_t Sum(const Stats& stats, Direction direction, const Read& read) {
  std::uint64_t sum = 0;
  for (const WorkerStats& worker : stats.workers()) sum += read(worker.of(direction));
  return sum;
}

MetricFamily Family(std::string name, std::string help, MetricType type) {
  return {.name = std::move(name), .help = std::move(help), .type = type, .metric = {}};
}

ClientMetric Counted(std::uint64_t value, std::vector<ClientMetric::Label> labels) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = static_cast<double>(value);
  return metric;
}

// A counter with one sample for each direction.
MetricFamily PerDirection(const Stats& stats, std::string name, std::string help,
                          const Read& read) {
  MetricFamily family = Family(std::move(name), std::move(help), MetricType::Counter);
  for (const Direction direction : kDirections) {
    family.metric.push_back(
        Counted(Sum(stats, direction, read), {{"reporter", Reporter(direction)}}));
  }
  return family;
}

// One of Istio's counters. Without mutual TLS it has no label for what protects a connection.
MetricFamily PerSecurity(const Stats& stats, bool has_mtls, std::string name, std::string help,
                         Counter TcpCounters::*counter) {
  MetricFamily family = Family(std::move(name), std::move(help), MetricType::Counter);
  for (const Direction direction : kDirections) {
    for (const Security security : kSecurities) {
      if (!has_mtls && security != Security::kNone) continue;
      std::vector<ClientMetric::Label> labels = {{"reporter", Reporter(direction)}};
      if (has_mtls) {
        labels.push_back({"connection_security_policy", std::string(Name(security))});
      }
      family.metric.push_back(
          Counted(Sum(stats, direction,
                      [&](const DirectionStats& s) { return (s.of(security).*counter).Get(); }),
                  std::move(labels)));
    }
  }
  return family;
}

MetricFamily Active(const Stats& stats) {
  MetricFamily family =
      Family("sluice_tcp_connections_active", "Connections that are open now.", MetricType::Gauge);
  for (const Direction direction : kDirections) {
    ClientMetric metric;
    metric.label = {{"reporter", Reporter(direction)}};
    metric.gauge.value = static_cast<double>(stats.Active(direction));
    family.metric.push_back(std::move(metric));
  }
  return family;
}

MetricFamily Failures(const Stats& stats) {
  MetricFamily family = Family("sluice_tcp_connections_failed_total",
                               "Connections that were refused, could not be connected or ended "
                               "early, by reason.",
                               MetricType::Counter);
  for (const Direction direction : kDirections) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(Failure::kCount); ++i) {
      if (static_cast<Failure>(i) == Failure::kClientReset) continue;
      const auto count =
          Sum(stats, direction, [i](const DirectionStats& s) { return s.failures[i].Get(); });
      family.metric.push_back(
          Counted(count, {{"reporter", Reporter(direction)},
                          {"reason", std::string(Name(static_cast<Failure>(i)))}}));
    }
  }
  return family;
}

// A histogram with one sample for each direction, which `of` returns. `per_unit`: how many of the
// units in which it counts are one of those that are shown.
template <typename Of>
MetricFamily HistogramFamily(const Stats& stats, std::string name, std::string help,
                             double per_unit, Of of) {
  using Observed = std::remove_cvref_t<std::invoke_result_t<Of, const DirectionStats&>>;
  constexpr const auto& kBounds = Observed::kUpperBounds;
  MetricFamily family = Family(std::move(name), std::move(help), MetricType::Histogram);
  for (const Direction direction : kDirections) {
    ClientMetric metric;
    metric.label = {{"reporter", Reporter(direction)}};
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i <= kBounds.size(); ++i) {
      cumulative +=
          Sum(stats, direction, [&](const DirectionStats& s) { return of(s).buckets[i].Get(); });
      const double bound = i < kBounds.size() ? static_cast<double>(kBounds[i]) / per_unit
                                              : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({.cumulative_count = cumulative, .upper_bound = bound});
    }
    const auto sum =
        Sum(stats, direction, [&](const DirectionStats& s) { return of(s).sum.Get(); });
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = static_cast<double>(sum) / per_unit;
    family.metric.push_back(std::move(metric));
  }
  return family;
}

// A histogram of microseconds, shown in seconds, as is usual with Prometheus.
template <typename Of>
MetricFamily Times(const Stats& stats, std::string name, std::string help, Of of) {
  return HistogramFamily(stats, std::move(name), std::move(help), 1e6, of);
}

MetricFamily Single(std::string name, std::string help, std::uint64_t value) {
  MetricFamily family = Family(std::move(name), std::move(help), MetricType::Counter);
  family.metric.push_back(Counted(value, {}));
  return family;
}

MetricFamily Gauge(std::string name, std::string help, double value,
                   std::vector<ClientMetric::Label> labels = {}) {
  MetricFamily family = Family(std::move(name), std::move(help), MetricType::Gauge);
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  family.metric.push_back(std::move(metric));
  return family;
}

// This process's values from /proc; unreadable ones are left out. The names are those of
// Prometheus' client libraries.
void AppendProcess(double start_unix_seconds, std::vector<MetricFamily>& out) {
  timespec cpu{};
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0) {
    MetricFamily family =
        Family("process_cpu_seconds_total", "User and system time.", MetricType::Counter);
    ClientMetric metric;
    metric.counter.value = static_cast<double>(cpu.tv_sec) + static_cast<double>(cpu.tv_nsec) / 1e9;
    family.metric.push_back(std::move(metric));
    out.push_back(std::move(family));
  }
  std::uint64_t pages = 0;
  std::uint64_t resident_pages = 0;
  if (std::ifstream("/proc/self/statm") >> pages >> resident_pages) {
    const auto page_bytes = static_cast<double>(::sysconf(_SC_PAGESIZE));
    out.push_back(Gauge("process_virtual_memory_bytes", "Address space.",
                        static_cast<double>(pages) * page_bytes));
    out.push_back(Gauge("process_resident_memory_bytes", "Memory in use.",
                        static_cast<double>(resident_pages) * page_bytes));
  }
  std::error_code error;
  const std::filesystem::directory_iterator descriptors("/proc/self/fd", error);
  if (!error) {
    out.push_back(Gauge("process_open_fds", "Open descriptors.",
                        static_cast<double>(std::distance(begin(descriptors), end(descriptors)))));
  }
  std::ifstream limits("/proc/self/limits");
  constexpr std::string_view kDescriptors = "Max open files";
  for (std::string line; std::getline(limits, line);) {
    if (!line.starts_with(kDescriptors)) continue;
    // "unlimited" is not a number and gives no sample.
    double limit = 0;
    if (std::istringstream(line.substr(kDescriptors.size())) >> limit) {
      out.push_back(Gauge("process_max_fds", "Limit of open descriptors.", limit));
    }
  }
  out.push_back(Gauge("process_start_time_seconds", "When it was started, in seconds since 1970.",
                      start_unix_seconds));
}

MetricFamily DnsFailures(const dns::DnsStats& dns) {
  MetricFamily family =
      Family("sluice_dns_failed_total", "DNS queries and connections without an answer, by reason.",
             MetricType::Counter);
  const std::pair<const char*, std::uint64_t> reasons[] = {
      {"refused", dns.refused_queries},       // malformed, or not to be forwarded
      {"over_limit", dns.over_limit},         // too many in flight
      {"no_answer", dns.upstream_failures}};  // no resolver answered
  for (const auto& [reason, count] : reasons) {
    family.metric.push_back(Counted(count, {{"reason", reason}}));
  }
  return family;
}

void AppendDns(const dns::DnsStats& dns, std::vector<MetricFamily>& out) {
  out.push_back(
      Single("sluice_dns_queries_total", "Well-formed DNS queries of clients.", dns.queries));
  out.push_back(
      Single("sluice_dns_cache_hits_total", "Queries answered from the cache.", dns.cache_hits));
  out.push_back(Single("sluice_dns_coalesced_total",
                       "Queries answered together with the same query of another client.",
                       dns.coalesced));
  out.push_back(DnsFailures(dns));
  out.push_back(Single("sluice_dns_upstream_queries_total",
                       "Queries sent to resolvers, over UDP and TCP.", dns.upstream_queries));
  out.push_back(Single("sluice_dns_upstream_timeouts_total",
                       "How often a resolver did not answer in time.", dns.upstream_timeouts));
  out.push_back(Single("sluice_dns_upstream_mismatches_total",
                       "Responses that answer no open query: late, or forged.",
                       dns.upstream_mismatches));
  out.push_back(Single("sluice_dns_upstream_tcp_retries_total",
                       "Queries sent again over TCP because the response was truncated.",
                       dns.tcp_retries));
}

void AppendMtls(const Stats& stats, const MutualTls::Facts& mtls, std::vector<MetricFamily>& out) {
  out.push_back(Single("sluice_mtls_permitted_plaintext_total",
                       "Inbound connections that were accepted without mutual TLS.",
                       Sum(stats, Direction::kInbound,
                           [](const DirectionStats& s) { return s.permitted_plaintext.Get(); })));
  out.push_back(Gauge("sluice_mtls_certificate_expiry_timestamp_seconds",
                      "When the certificate in use expires, in seconds since 1970.",
                      static_cast<double>(mtls.expiry_unix_seconds)));
  out.push_back(
      Gauge("sluice_mtls_ktls",
            "Whether the kernel encrypts and decrypts for connections that it can do it for.",
            mtls.ktls ? 1 : 0));
  MetricFamily reloads =
      Family("sluice_mtls_reloads_total", "How often changed files were loaded while running.",
             MetricType::Counter);
  MetricFamily failures =
      Family("sluice_mtls_reload_failures_total",
             "How often changed files could not be used, so that the old ones stayed in use.",
             MetricType::Counter);
  const std::pair<const char*, MutualTls::Facts::Loads> files[] = {
      {"credentials", mtls.credentials}, {"outbound", mtls.outbound}};
  for (const auto& [name, loads] : files) {
    reloads.metric.push_back(Counted(loads.reloads, {{"files", name}}));
    failures.metric.push_back(Counted(loads.failed, {{"files", name}}));
  }
  out.push_back(std::move(reloads));
  out.push_back(std::move(failures));
}

// Istio's metrics of requests, without the labels whose values only a control plane knows.
void AppendHttp(const Stats& stats, bool has_mtls, std::vector<MetricFamily>& out) {
  MetricFamily requests =
      Family("istio_requests_total", "Requests, by status.", MetricType::Counter);
  for (const Direction direction : kDirections) {
    for (const std::size_t secured : {std::size_t{0}, std::size_t{1}}) {
      // All codes would be a thousand lines.
      const auto add = [&](const char* protocol, int code, const std::string& grpc_status,
                           const auto& of) {
        const auto count =
            Sum(stats, direction, [&](const DirectionStats& s) { return of(*s.http).Get(); });
        if (count == 0) return;
        std::vector<ClientMetric::Label> labels = {{"reporter", Reporter(direction)},
                                                   {"request_protocol", protocol},
                                                   {"response_code", std::to_string(code)}};
        if (!grpc_status.empty()) labels.push_back({"grpc_response_status", grpc_status});
        if (has_mtls) {
          labels.push_back({"connection_security_policy", secured == 1 ? "mutual_tls" : "none"});
        }
        requests.metric.push_back(Counted(count, std::move(labels)));
      };
      for (std::size_t i = 0; i < HttpStats::kCodes; ++i) {
        const int code = HttpStats::CodeOf(i);
        add(
            "http", code, {}, [&](const HttpStats& s) -> auto& { return s.requests[secured][i]; });
        add(
            "grpc", code,
            {}, [&](const HttpStats& s) -> auto& { return s.grpc_requests[secured][i]; });
      }
      for (std::size_t i = 0; i < HttpStats::kGrpcCodes; ++i) {
        const std::string status = i + 1 < HttpStats::kGrpcCodes ? std::to_string(i) : "";
        add(
            "grpc", 200,
            status, [&](const HttpStats& s) -> auto& { return s.grpc_answers[secured][i]; });
      }
    }
  }
  out.push_back(std::move(requests));
  out.push_back(HistogramFamily(
      stats, "istio_request_duration_milliseconds",
      "From the head of a request to the end of its answer.", 1,
      [](const DirectionStats& s) -> const auto& { return s.http->durations; }));
  out.push_back(HistogramFamily(
      stats, "istio_request_bytes", "Bodies of requests.", 1,
      [](const DirectionStats& s) -> const auto& { return s.http->request_bytes; }));
  out.push_back(HistogramFamily(
      stats, "istio_response_bytes", "Bodies of answers.", 1,
      [](const DirectionStats& s) -> const auto& { return s.http->response_bytes; }));
  out.push_back(PerDirection(stats, "sluice_http2_connections_total",
                             "Connections of HTTP/2, which is relayed as it is.",
                             [](const DirectionStats& s) { return s.http->http2.Get(); }));
  out.push_back(PerDirection(stats, "sluice_http_tunnels_total",
                             "Requests that became a tunnel, by Upgrade or CONNECT.",
                             [](const DirectionStats& s) { return s.http->tunnels.Get(); }));
}

}  // namespace

std::string PrometheusText(const Stats& stats, const ProxyFacts& facts) {
  const bool has_mtls = facts.mtls.has_value();
  std::uint64_t pauses = 0;
  for (const WorkerStats& worker : stats.workers()) pauses += worker.accept_pauses.Get();
  std::vector<MetricFamily> families = {
      Gauge("sluice_build_info", "The program; always 1.", 1,
            {{"version", facts.version}, {"commit", facts.commit}}),
      PerSecurity(stats, has_mtls, "istio_tcp_connections_opened_total",
                  "Connections accepted for relaying.", &TcpCounters::opened),
      PerSecurity(stats, has_mtls, "istio_tcp_connections_closed_total",
                  "Connections that are over.", &TcpCounters::closed),
      PerSecurity(stats, has_mtls, "istio_tcp_received_bytes_total", "Bytes received from clients.",
                  &TcpCounters::received_bytes),
      PerSecurity(stats, has_mtls, "istio_tcp_sent_bytes_total", "Bytes sent to clients.",
                  &TcpCounters::sent_bytes),
      Active(stats),
      Failures(stats),
      PerDirection(
          stats, "sluice_tcp_downstream_resets_total",
          "Connections that the client ended with a reset, which many clients do normally.",
          [](const DirectionStats& s) {
            return s.failures[static_cast<std::size_t>(Failure::kClientReset)].Get();
          }),
      Times(
          stats, "sluice_tcp_connect_duration_seconds",
          "Time from accepting a connection to the destination's answer to the connect.",
          [](const DirectionStats& s) -> const auto& { return s.connect_times; }),
      Times(
          stats, "sluice_tcp_connection_duration_seconds",
          "How long connections that are over have lasted.",
          [](const DirectionStats& s) -> const auto& { return s.durations; }),
      Gauge("sluice_tcp_connections_limit", "Connections that may be open at once.",
            static_cast<double>(facts.max_connections)),
      Gauge("sluice_draining", "1 while draining, 0 otherwise.", facts.draining ? 1 : 0),
      Single("sluice_accept_pauses_total",
             "How often accepting was paused, mostly for lack of descriptors or memory.", pauses),
      Single("sluice_access_log_dropped_total",
             "Access-log lines dropped: the reader was too slow, or writing failed.",
             facts.access_log_dropped),
  };
  if (facts.dns) AppendDns(*facts.dns, families);
  if (facts.mtls) AppendMtls(stats, *facts.mtls, families);
  const std::span<const WorkerStats> workers = stats.workers();
  if (!workers.empty() && workers.front().of(Direction::kInbound).http) {
    AppendHttp(stats, has_mtls, families);
  }
  AppendProcess(facts.start_unix_seconds, families);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace sluice::proxy
