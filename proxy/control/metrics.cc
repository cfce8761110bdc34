// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/metrics.h"

#include <functional>
#include <limits>
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

// A counter with one sample per direction.
MetricFamily PerDirection(const Stats& stats, std::string name, std::string help,
                          const Read& read) {
  MetricFamily family = Family(std::move(name), std::move(help), MetricType::Counter);
  for (const Direction direction : kDirections) {
    family.metric.push_back(
        Counted(Sum(stats, direction, read), {{"reporter", Reporter(direction)}}));
  }
  return family;
}

MetricFamily Active(const Stats& stats) {
  MetricFamily family =
      Family("sluice_tcp_connections_active", "Connections that are open now.", MetricType::Gauge);
  for (const Direction direction : kDirections) {
    // Closed before opened: a connection that comes in between makes the number too large, never
    // negative.
    const std::uint64_t closed =
        Sum(stats, direction, [](const DirectionStats& s) { return s.closed.Get(); });
    const std::uint64_t opened =
        Sum(stats, direction, [](const DirectionStats& s) { return s.opened.Get(); });
    ClientMetric metric;
    metric.label = {{"reporter", Reporter(direction)}};
    metric.gauge.value = static_cast<double>(opened - closed);
    family.metric.push_back(std::move(metric));
  }
  return family;
}

MetricFamily Failures(const Stats& stats) {
  MetricFamily family = Family("sluice_tcp_connections_failed_total",
                               "Connections that were refused, could not be connected or did not "
                               "come to their end, by reason.",
                               MetricType::Counter);
  for (const Direction direction : kDirections) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(Failure::kCount); ++i) {
      const auto count =
          Sum(stats, direction, [i](const DirectionStats& s) { return s.failures[i].Get(); });
      family.metric.push_back(
          Counted(count, {{"reporter", Reporter(direction)},
                          {"reason", std::string(Name(static_cast<Failure>(i)))}}));
    }
  }
  return family;
}

MetricFamily ConnectTimes(const Stats& stats) {
  MetricFamily family =
      Family("sluice_tcp_connect_duration_seconds",
             "Time from accepting a connection to the destination's answer to the connect.",
             MetricType::Histogram);
  for (const Direction direction : kDirections) {
    ClientMetric metric;
    metric.label = {{"reporter", Reporter(direction)}};
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i <= kConnectTimeBoundsMicros.size(); ++i) {
      cumulative +=
          Sum(stats, direction, [i](const DirectionStats& s) { return s.connect_times[i].Get(); });
      const double bound = i < kConnectTimeBoundsMicros.size()
                               ? static_cast<double>(kConnectTimeBoundsMicros[i]) / 1e6
                               : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({.cumulative_count = cumulative, .upper_bound = bound});
    }
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum =
        static_cast<double>(Sum(
            stats, direction, [](const DirectionStats& s) { return s.connect_micros_sum.Get(); })) /
        1e6;
    family.metric.push_back(std::move(metric));
  }
  return family;
}

MetricFamily Single(std::string name, std::string help, std::uint64_t value) {
  MetricFamily family = Family(std::move(name), std::move(help), MetricType::Counter);
  family.metric.push_back(Counted(value, {}));
  return family;
}

MetricFamily DnsFailures(const dns::DnsStats& dns) {
  MetricFamily family =
      Family("sluice_dns_failed_total", "DNS queries and connections without an answer, by reason.",
             MetricType::Counter);
  const std::pair<const char*, std::uint64_t> reasons[] = {
      {"refused", dns.refused_queries},       // malformed, or not to be forwarded
      {"over_limit", dns.over_limit},         // too many wait for an answer
      {"no_answer", dns.upstream_failures}};  // no resolver had one
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
                       "Queries answered with what the same one of another client brought.",
                       dns.coalesced));
  out.push_back(DnsFailures(dns));
  out.push_back(Single("sluice_dns_upstream_queries_total",
                       "Queries sent to resolvers, over UDP and TCP.", dns.upstream_queries));
  out.push_back(Single("sluice_dns_upstream_timeouts_total",
                       "How often a resolver did not answer in time.", dns.upstream_timeouts));
  out.push_back(Single("sluice_dns_upstream_mismatches_total",
                       "Responses to something else than was asked: late, or forged.",
                       dns.upstream_mismatches));
  out.push_back(Single("sluice_dns_upstream_tcp_retries_total",
                       "Queries asked again over TCP, for the response was truncated.",
                       dns.tcp_retries));
}

}  // namespace

std::string PrometheusText(const Stats& stats, std::uint64_t access_log_dropped,
                           const std::optional<dns::DnsStats>& dns) {
  std::uint64_t pauses = 0;
  for (const WorkerStats& worker : stats.workers()) pauses += worker.accept_pauses.Get();
  std::vector<MetricFamily> families = {
      PerDirection(stats, "istio_tcp_connections_opened_total",
                   "Connections accepted for relaying.",
                   [](const DirectionStats& s) { return s.opened.Get(); }),
      PerDirection(stats, "istio_tcp_connections_closed_total", "Connections that are over.",
                   [](const DirectionStats& s) { return s.closed.Get(); }),
      PerDirection(stats, "istio_tcp_received_bytes_total", "Bytes received from clients.",
                   [](const DirectionStats& s) { return s.received_bytes.Get(); }),
      PerDirection(stats, "istio_tcp_sent_bytes_total", "Bytes sent to clients.",
                   [](const DirectionStats& s) { return s.sent_bytes.Get(); }),
      Active(stats),
      Failures(stats),
      ConnectTimes(stats),
      Single("sluice_accept_pauses_total",
             "How often accepting was paused, mostly for want of descriptors or memory.", pauses),
      Single("sluice_access_log_dropped_total",
             "Access-log lines dropped because the reader was too slow.", access_log_dropped),
  };
  if (dns) AppendDns(*dns, families);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace sluice::proxy
