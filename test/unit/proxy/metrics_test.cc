// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/metrics.h"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

using std::chrono::microseconds;
using testing::HasSubstr;
using testing::Not;

TEST(Metrics, SumsTheWorkers) {
  Stats stats(2);
  stats.worker(0).of(Direction::kOutbound).opened.Add(3);
  stats.worker(1).of(Direction::kOutbound).opened.Add(4);
  stats.worker(1).of(Direction::kOutbound).closed.Add(5);
  stats.worker(0).of(Direction::kInbound).received_bytes.Add(1000);
  stats.worker(0).of(Direction::kInbound).Count(Failure::kLoop);
  stats.worker(0).accept_pauses.Add(2);
  stats.worker(0).of(Direction::kOutbound).sockets_open.Add(2);
  const std::string text = PrometheusText(stats, {.access_log_dropped = 9});
  EXPECT_THAT(text, HasSubstr("istio_tcp_connections_opened_total{reporter=\"source\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("istio_tcp_connections_closed_total{reporter=\"source\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("sluice_tcp_connections_active{reporter=\"source\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("istio_tcp_received_bytes_total{reporter=\"destination\"} 1000\n"));
  EXPECT_THAT(text, HasSubstr("sluice_tcp_connections_failed_total{reporter=\"destination\","
                              "reason=\"loop\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sluice_accept_pauses_total 2\n"));
  EXPECT_THAT(text, HasSubstr("sluice_access_log_dropped_total 9\n"));
  EXPECT_THAT(text, Not(HasSubstr("dns"))) << "without a forwarder";
}

TEST(Metrics, TellsWhatProtectsConnections) {
  Stats stats(1);
  auto& inbound = stats.worker(0).of(Direction::kInbound);
  inbound.of(Security::kMutualTls).opened.Add(3);
  inbound.of(Security::kNone).opened.Add(2);
  inbound.CountClosed(Security::kUnknown, std::chrono::milliseconds(5));
  inbound.permitted_plaintext.Add(2);
  const std::string plain = PrometheusText(stats, {});
  EXPECT_THAT(plain, Not(HasSubstr("connection_security_policy")));
  EXPECT_THAT(plain, Not(HasSubstr("sluice_mtls")));
  const std::string text =
      PrometheusText(stats, {.mtls = MutualTls::Facts{.expiry_unix_seconds = 1'800'000'000,
                                                      .ktls = true,
                                                      .credentials = {.reloads = 4, .failed = 5}}});
  const std::string labels = "{reporter=\"destination\",connection_security_policy=";
  EXPECT_THAT(text,
              HasSubstr("istio_tcp_connections_opened_total" + labels + "\"mutual_tls\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("istio_tcp_connections_opened_total" + labels + "\"none\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("istio_tcp_connections_closed_total" + labels + "\"unknown\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sluice_mtls_permitted_plaintext_total 2\n"));
  EXPECT_THAT(text, HasSubstr("sluice_mtls_certificate_expiry_timestamp_seconds 1800000000\n"));
  EXPECT_THAT(text, HasSubstr("sluice_mtls_ktls 1\n"));
  EXPECT_THAT(text, HasSubstr("sluice_mtls_reload_failures_total{files=\"credentials\"} 5\n"));
}

TEST(Metrics, ShowsTheForwarder) {
  const std::string text =
      PrometheusText(Stats(1), {.dns = dns::DnsStats{.queries = 1,
                                                     .cache_hits = 2,
                                                     .coalesced = 3,
                                                     .refused_queries = 4,
                                                     .over_limit = 5,
                                                     .upstream_queries = 6,
                                                     .upstream_timeouts = 7,
                                                     .upstream_mismatches = 8,
                                                     .tcp_retries = 9,
                                                     .upstream_failures = 10}});
  for (const char* const sample :
       {"sluice_dns_queries_total 1\n", "sluice_dns_cache_hits_total 2\n",
        "sluice_dns_coalesced_total 3\n", "sluice_dns_failed_total{reason=\"refused\"} 4\n",
        "sluice_dns_failed_total{reason=\"over_limit\"} 5\n",
        "sluice_dns_upstream_queries_total 6\n", "sluice_dns_upstream_timeouts_total 7\n",
        "sluice_dns_upstream_mismatches_total 8\n", "sluice_dns_upstream_tcp_retries_total 9\n",
        "sluice_dns_failed_total{reason=\"no_answer\"} 10\n"}) {
    EXPECT_THAT(text, HasSubstr(sample));
  }
}

TEST(Metrics, PutsConnectTimesIntoBuckets) {
  Stats stats(1);
  auto& outbound = stats.worker(0).of(Direction::kOutbound);
  outbound.CountConnect(microseconds(100));         // equal to the bound: inside
  outbound.CountConnect(microseconds(101));         // just above it
  outbound.CountConnect(microseconds(11'000'000));  // beyond the last
  const std::string text = PrometheusText(stats, {});
  const std::string bucket = "sluice_tcp_connect_duration_seconds_bucket{reporter=\"source\",le=";
  EXPECT_THAT(text, HasSubstr(bucket + "\"0.0001\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"0.00025\"} 2\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"10\"} 2\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"+Inf\"} 3\n"));
}

TEST(Metrics, DoesNotCallAResetByTheClientAFailure) {
  Stats stats(1);
  stats.worker(0).of(Direction::kOutbound).Count(Failure::kClientReset);
  const std::string text = PrometheusText(stats, {});
  EXPECT_THAT(text, Not(HasSubstr("downstream_reset\"")));
  EXPECT_THAT(text, HasSubstr("sluice_tcp_downstream_resets_total{reporter=\"source\"} 1\n"));
}

TEST(Metrics, PutsDurationsIntoBuckets) {
  Stats stats(1);
  auto& inbound = stats.worker(0).of(Direction::kInbound);
  inbound.opened.Add(2);
  inbound.CountClosed(Security::kNone, std::chrono::milliseconds(5));
  inbound.CountClosed(Security::kMutualTls, std::chrono::hours(5));
  const std::string text = PrometheusText(stats, {});
  const std::string name = "sluice_tcp_connection_duration_seconds";
  const std::string bucket = name + "_bucket{reporter=\"destination\",le=";
  EXPECT_THAT(text, HasSubstr(bucket + "\"0.001\"} 0\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"0.005\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"14400\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"+Inf\"} 2\n"));
  EXPECT_THAT(text, HasSubstr(name + "_sum{reporter=\"destination\"} 18000.00"));
  EXPECT_THAT(text, HasSubstr("sluice_tcp_connections_active{reporter=\"destination\"} 0\n"));
}

TEST(Metrics, OfRequestsHaveIstiosNames) {
  Stats stats(2, true);
  HttpStats& http = *stats.worker(0).of(Direction::kInbound).http;
  http.requests[0][HttpStats::IndexOf(503)].Add(2);
  http.requests[1][HttpStats::IndexOf(0)].Add(1);
  http.durations.Observe(7);
  stats.worker(1).of(Direction::kInbound).http->requests[0][HttpStats::IndexOf(503)].Add(1);
  const std::string text = PrometheusText(stats, {});
  const std::string requests =
      R"(istio_requests_total{reporter="destination",request_protocol="http",response_code=)";
  EXPECT_THAT(text, HasSubstr(requests + "\"503\"} 3\n"));
  EXPECT_THAT(text, HasSubstr(requests + "\"0\"} 1\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("\"200\"}")));
  const std::string bucket =
      R"(istio_request_duration_milliseconds_bucket{reporter="destination",le=)";
  EXPECT_THAT(text, HasSubstr(bucket + "\"5\"} 0\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"10\"} 1\n"));
  EXPECT_THAT(PrometheusText(Stats(1), {}), testing::Not(HasSubstr("istio_request")));
}

TEST(Metrics, SaysWhatADashboardNeeds) {
  const std::string text = PrometheusText(Stats(1), {.version = "1.2.3",
                                                     .commit = "abc",
                                                     .max_connections = 5000,
                                                     .draining = true,
                                                     .start_unix_seconds = 1.5});
  EXPECT_THAT(text, HasSubstr("sluice_build_info{version=\"1.2.3\",commit=\"abc\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sluice_tcp_connections_limit 5000\n"));
  EXPECT_THAT(text, HasSubstr("sluice_draining 1\n"));
  EXPECT_THAT(text, HasSubstr("process_start_time_seconds 1.5\n"));
  for (const char* const name : {"process_cpu_seconds_total", "process_resident_memory_bytes",
                                 "process_virtual_memory_bytes", "process_open_fds"}) {
    const auto at = text.find(std::string("\n") + name + " ");
    ASSERT_NE(at, std::string::npos) << name;
    EXPECT_GT(std::stod(text.substr(at + 2 + std::string_view(name).size())), 0) << name;
  }
}

}  // namespace
}  // namespace sluice::proxy
