// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/log/access_log.h"

#include <string>

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

boost::json::object Line(const AccessRecord& record) {
  std::string line;
  AppendAccessLogLine(record, line);
  EXPECT_TRUE(line.ends_with("}\n"));
  EXPECT_EQ(line.find('\n'), line.size() - 1) << "one line per connection";
  return boost::json::parse(line).as_object();
}

std::string Text(const boost::json::object& line, const char* name) {
  return std::string(line.at(name).as_string());
}

AccessRecord Relayed() {
  return {.direction = Direction::kOutbound,
          .start_unix_ms = 1'795'448'235'042,
          .duration = std::chrono::milliseconds(17),
          .bytes_received = 5'000'000'000,
          .bytes_sent = 7,
          .downstream_remote = {IpAddress::V4(10, 0, 0, 7), 40000},
          .downstream_local = {IpAddress::V4(10, 96, 0, 10), 80},
          .upstream_host = {IpAddress::V4(10, 96, 0, 10), 80},
          .upstream_local = {IpAddress::V4(10, 0, 0, 7), 40001}};
}

TEST(AccessLog, HasEnvoysFields) {
  const auto line = Line(Relayed());
  EXPECT_EQ(Text(line, "start_time"), "2026-11-23T15:37:15.042Z");
  EXPECT_EQ(line.at("duration"), 17);
  EXPECT_EQ(line.at("bytes_received"), 5'000'000'000);
  EXPECT_EQ(line.at("bytes_sent"), 7);
  EXPECT_EQ(Text(line, "downstream_remote_address"), "10.0.0.7:40000");
  EXPECT_EQ(Text(line, "downstream_local_address"), "10.96.0.10:80");
  EXPECT_EQ(Text(line, "upstream_host"), "10.96.0.10:80");
  EXPECT_EQ(Text(line, "upstream_local_address"), "10.0.0.7:40001");
  EXPECT_EQ(Text(line, "upstream_cluster"), "PassthroughCluster");
  EXPECT_EQ(Text(line, "response_flags"), "-");
  EXPECT_EQ(line.at("response_code"), 0);
  for (const char* unseen :
       {"connection_termination_details", "upstream_transport_failure_reason",
        "requested_server_name", "protocol", "method", "path", "authority", "user_agent"}) {
    EXPECT_EQ(Text(line, unseen), "-") << unseen;
  }
}

TEST(AccessLog, OfARequestHasMoreFields) {
  AccessRecord record = Relayed();
  EXPECT_FALSE(Line(record).contains("request_id"));
  record.is_request = true;
  record.upstream_cluster = "outbound|80||shop\"";
  record.request_id = "\x01id";
  const auto line = Line(record);
  EXPECT_EQ(Text(line, "upstream_cluster"), "outbound|80||shop\"");
  EXPECT_EQ(Text(line, "request_id"), "\x01id");
  EXPECT_EQ(Text(line, "route_name"), "default");
  for (const char* none : {"upstream_service_time", "x_forwarded_for", "response_code_details"}) {
    EXPECT_EQ(Text(line, none), "-") << none;
  }
}

TEST(AccessLog, NamesTheClusterByDirectionAndRefusal) {
  AccessRecord record = Relayed();
  record.direction = Direction::kInbound;
  EXPECT_EQ(Text(Line(record), "upstream_cluster"), "InboundPassthroughCluster");
  record.refused = true;
  record.response_flags = "NR";
  record.upstream_host = {};
  EXPECT_EQ(Text(Line(record), "upstream_cluster"), "BlackHoleCluster");
  EXPECT_EQ(Text(Line(record), "response_flags"), "NR");
  EXPECT_EQ(Text(Line(record), "upstream_host"), "-");
}

TEST(AccessLog, WritesV6InBrackets) {
  AccessRecord record = Relayed();
  record.upstream_local = {IpAddress::Parse("::6"), 1};
  record.downstream_local = {IpAddress::Parse("2001:db8::1"), 65535};
  EXPECT_EQ(Text(Line(record), "upstream_local_address"), "[::6]:1");
  EXPECT_EQ(Text(Line(record), "downstream_local_address"), "[2001:db8::1]:65535");
}

TEST(AccessLog, EscapesWhatTheNetworkSent) {
  AccessRecord record = Relayed();
  record.path = std::string_view("/\"\\\n\x01\x7f\0end", 11);
  record.authority =
      "stra\xc3\x9f"
      "e.example";
  record.user_agent = "\xff\xc3(\xed\xa0\x80\xf4\x90\x80\x80|\xf0\x9f\x8c\x8a\xe2\x82";
  const auto line = Line(record);
  EXPECT_EQ(Text(line, "path"), std::string_view("/\"\\\n\x01\x7f\0end", 11));
  EXPECT_EQ(line.at("authority"),
            "stra\xc3\x9f"
            "e.example");
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(Text(line, "user_agent"), bad + bad + "(" + bad + bad + bad + bad + bad + bad + bad +
                                          "|\xf0\x9f\x8c\x8a" + bad + bad);
}

// Of each length, and with an escape at each place, so that a line's pieces end anywhere.
TEST(AccessLog, LinesMayBeLong) {
  AccessRecord record = Relayed();
  std::string path;
  for (int i = 0; i < 6000; ++i) {
    path += i % 7 == 0 ? '"' : static_cast<char>('a' + i % 26);
    if (i % 40 != 0 && (i < 1000 || i > 2000)) continue;
    record.path = path;
    record.user_agent = path;
    const auto line = Line(record);
    ASSERT_EQ(Text(line, "path"), path);
    ASSERT_EQ(Text(line, "user_agent"), path);
  }
}

TEST(AccessLog, HasTheTimesOfAllDays) {
  struct {
    std::int64_t unix_ms;
    const char* text;
  } const cases[] = {{0, "1970-01-01T00:00:00.000Z"},
                     {951'782'399'999, "2000-02-28T23:59:59.999Z"},
                     {951'782'400'000, "2000-02-29T00:00:00.000Z"},
                     {1'798'761'599'001, "2026-12-31T23:59:59.001Z"},
                     {4'102'444'800'000, "2100-01-01T00:00:00.000Z"}};
  for (const auto& each : cases) {
    AccessRecord record = Relayed();
    record.start_unix_ms = each.unix_ms;
    EXPECT_EQ(Text(Line(record), "start_time"), each.text);
  }
}

}  // namespace
}  // namespace sluice::proxy
