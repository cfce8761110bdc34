// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cmd/sluice-proxy/options.h"

namespace sluice::proxy {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::map<std::string, std::string>& Variables() {
  static std::map<std::string, std::string> variables;
  return variables;
}

const char* Variable(const char* name) {
  const auto found = Variables().find(name);
  return found == Variables().end() ? nullptr : found->second.c_str();
}

class OptionsTest : public testing::Test {
 protected:
  OptionsTest() { Variables().clear(); }
  static Options Parse(const std::vector<std::string>& arguments) {
    return ParseOptions(arguments, Variable);
  }
  static std::string UsageError(const std::vector<std::string>& arguments) {
    try {
      Parse(arguments);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.what();
    }
    ADD_FAILURE() << "was accepted";
    return {};
  }
};

TEST_F(OptionsTest, Defaults) {
  const Options options = Parse({});
  EXPECT_EQ(options.config.outbound_port, 15001);
  EXPECT_EQ(options.config.inbound_port, 15006);
  EXPECT_EQ(options.config.status_port, 15020);
  EXPECT_EQ(options.config.metrics_port, 15090);
  EXPECT_GE(options.config.concurrency, 1);
  EXPECT_EQ(options.config.connect_timeout, std::chrono::seconds(10));
  EXPECT_EQ(options.config.idle_timeout, std::chrono::hours(1));
  EXPECT_EQ(options.drain_duration, std::chrono::seconds(45));
  EXPECT_EQ(options.config.access_log, "-");
  EXPECT_EQ(options.config.inbound_upstream, std::nullopt);
  EXPECT_FALSE(options.allow_root);
}

TEST_F(OptionsTest, Splice) {
  EXPECT_EQ(Parse({}).config.splicing, Splicing::kAuto);
  EXPECT_EQ(Parse({}).config.busy_polling, BusyPolling::kAuto);
  EXPECT_EQ(Parse({"--busy-poll=on"}).config.busy_polling, BusyPolling::kOn);
  EXPECT_EQ(Parse({"--busy-poll=off"}).config.busy_polling, BusyPolling::kOff);
  EXPECT_THAT(UsageError({"--busy-poll=5"}),
              AllOf(HasSubstr("--busy-poll"), HasSubstr("on or off")));
  EXPECT_EQ(Parse({"--splice=auto"}).config.splicing, Splicing::kAuto);
  EXPECT_EQ(Parse({"--splice=on"}).config.splicing, Splicing::kOn);
  EXPECT_EQ(Parse({"--splice=off"}).config.splicing, Splicing::kOff);
  EXPECT_THAT(UsageError({"--splice=never"}), AllOf(HasSubstr("--splice"), HasSubstr("on or off")));
}

TEST_F(OptionsTest, TakesEachForm) {
  const Options options =
      Parse({"--outbound-port=1", "--inbound-port", "2", "--inbound-upstream=127.0.0.1",
             "--access-log=off", "--allow-root", "--max-connections=100", "--status-port=0"});
  EXPECT_EQ(options.config.outbound_port, 1);
  EXPECT_EQ(options.config.inbound_port, 2);
  EXPECT_EQ(options.config.inbound_upstream, IpAddress::V4(127, 0, 0, 1));
  EXPECT_EQ(options.config.access_log, "");
  EXPECT_TRUE(options.allow_root);
  EXPECT_EQ(options.config.max_connections, 100U);
  EXPECT_EQ(options.config.status_port, 0);
  EXPECT_FALSE(Parse({"--allow-root=false"}).allow_root);
  EXPECT_EQ(Parse({"--access-log=/dev/stdout"}).config.access_log, "-");
}

TEST_F(OptionsTest, AFlagWinsOverItsVariable) {
  Variables()["SLUICE_PROXY_IDLE_TIMEOUT"] = "5m";
  Variables()["SLUICE_PROXY_CONNECT_TIMEOUT"] = "";
  EXPECT_EQ(Parse({}).config.idle_timeout, std::chrono::minutes(5));
  EXPECT_EQ(Parse({}).config.connect_timeout, std::chrono::seconds(10));
  EXPECT_EQ(Parse({"--idle-timeout=7s"}).config.idle_timeout, std::chrono::seconds(7));
  EXPECT_EQ(Parse({}).config.half_closed_timeout, std::nullopt);
  EXPECT_EQ(Parse({"--half-closed-timeout=8m"}).config.half_closed_timeout,
            std::chrono::minutes(8));
  EXPECT_EQ(Parse({"--connect-timeout=1.5s"}).config.connect_timeout,
            std::chrono::milliseconds(1500));
}

// A Service called sluice-proxy-metrics must not stop the proxies of its namespace.
TEST_F(OptionsTest, WhatKubernetesSaysOfServicesIsNoPort) {
  Variables()["SLUICE_PROXY_METRICS_PORT"] = "tcp://10.0.0.1:15090";
  EXPECT_EQ(Parse({}).config.metrics_port, 15090);
}

TEST_F(OptionsTest, ErrorsNameTheFlagTheValueAndWhatIsRight) {
  EXPECT_THAT(UsageError({"--outbound-port=70000"}),
              AllOf(HasSubstr("--outbound-port"), HasSubstr("\"70000\""),
                    HasSubstr("a number from 1 to 65535")));
  EXPECT_THAT(UsageError({"--idle-timeout=0"}), HasSubstr("longer than 0"));
  EXPECT_THAT(UsageError({"--connect-timeout=1,5s"}), HasSubstr("500ms, 1.5s"));
  EXPECT_THAT(UsageError({"--connect-timeout=1.5ms"}), HasSubstr("whole milliseconds"));
  EXPECT_THAT(UsageError({"--inbound-upstream=localhost"}), HasSubstr("\"localhost\""));
  EXPECT_THAT(UsageError({"--inbound-upstream=::"}), HasSubstr("listens"));
  EXPECT_THAT(UsageError({"--access-log="}), HasSubstr("--access-log"));
  EXPECT_THAT(UsageError({"--log-level=loud"}), HasSubstr("debug"));
  EXPECT_THAT(UsageError({"--allow-root=maybe"}), HasSubstr("true or false"));
  EXPECT_THAT(UsageError({"--concurrency=0"}), HasSubstr("from 1"));
  EXPECT_THAT(UsageError({"15001"}), HasSubstr("flags only"));
  EXPECT_THAT(UsageError({"--no-such-flag"}), HasSubstr("no-such-flag"));
  EXPECT_THAT(UsageError({"--idle-timeuot=1s"}), HasSubstr("did you mean --idle-timeout?"));
  EXPECT_THAT(UsageError({"idle-timeout=1s"}), HasSubstr("did you mean --idle-timeout?"));
  EXPECT_THAT(UsageError({"certificat"}), HasSubstr("did you mean certificate?"));
  EXPECT_THAT(UsageError({"--allow-root", "false"}), HasSubstr("flags only"));
  EXPECT_THAT(UsageError({"--outbound"}), HasSubstr("outbound")) << "no guessing";
  EXPECT_THAT(UsageError({"--inbound-port=15001"}),
              AllOf(HasSubstr("--outbound-port"), HasSubstr("--inbound-port")));
  EXPECT_THAT(UsageError({"--stop-old"}), HasSubstr("--hand-over"));
  EXPECT_TRUE(Parse({"--stop-old", "--hand-over"}).stop_old);
  Variables()["SLUICE_PROXY_METRICS_PORT"] = "x";
  EXPECT_THAT(UsageError({}), HasSubstr("SLUICE_PROXY_METRICS_PORT"));
}

TEST_F(OptionsTest, BooleansAndNumbersHaveOneGrammar) {
  EXPECT_TRUE(Parse({"--allow-root=t"}).allow_root);
  EXPECT_FALSE(Parse({"--allow-root=off"}).allow_root);
  EXPECT_FALSE(Parse({"--sniff=false"}).config.sniff);
  EXPECT_EQ(Parse({"--splice=0"}).config.splicing, Splicing::kOff);
  EXPECT_EQ(Parse({"--tproxy-mark=0x4d"}).config.tproxy_mark, 77U);
}

TEST_F(OptionsTest, HelpNamesEveryFlag) {
  for (const char* flag :
       {"--outbound-port", "--inbound-port", "--concurrency", "--inbound-upstream",
        "--connect-timeout", "--idle-timeout", "--half-closed-timeout", "--drain-duration",
        "--max-connections", "--access-log", "--status-port", "--metrics-port", "--allow-root",
        "--log-level"}) {
    EXPECT_THAT(HelpText(), HasSubstr(flag));
  }
  EXPECT_TRUE(Parse({"--help"}).help);
  EXPECT_TRUE(Parse({"--version"}).version);
}

TEST_F(OptionsTest, TproxyMarkIsAnyButTheOutboundOne) {
  EXPECT_EQ(Parse({}).config.tproxy_mark, 1337U);
  EXPECT_EQ(Parse({"--tproxy-mark", "4294967295"}).config.tproxy_mark, 4294967295U);
  for (const char* bad : {"0", "1338", "-1", "4294967296", ""}) {
    EXPECT_THROW(Parse({"--tproxy-mark", bad}), Error) << bad;
  }
}

TEST_F(OptionsTest, MutualTls) {
  EXPECT_FALSE(Parse({}).config.mtls.enabled());
  Variables()["SLUICE_PROXY_MTLS_CREDENTIALS"] = "/run/spiffe";
  const MtlsConfig mtls =
      Parse({"--mtls-trust-bundle=east.example=/etc/east.pem,west.example=/etc/west.pem",
             "--mtls-inbound=strict",
             "--mtls-allow=spiffe://cluster.local/ns/shop/sa/*, spiffe://east.example/**",
             "--mtls-inbound-plaintext-ports=8081,9000-9010,9011"})
          .config.mtls;
  EXPECT_EQ(mtls.credentials.directory, "/run/spiffe");
  ASSERT_EQ(mtls.credentials.bundles.size(), 2U);
  EXPECT_EQ(mtls.credentials.bundles[1].trust_domain, "west.example");
  EXPECT_EQ(mtls.credentials.bundles[1].file, "/etc/west.pem");
  EXPECT_EQ(mtls.inbound, MtlsInbound::kStrict);
  ASSERT_EQ(mtls.allow.size(), 2U);
  EXPECT_EQ(mtls.allow[1].ToString(), "spiffe://east.example/**");
  const std::vector<PortRange> ports = {{8081, 8081}, {9000, 9011}};
  EXPECT_EQ(mtls.inbound_plaintext_ports, ports);
  EXPECT_THAT(UsageError({"--mtls-inbound=strict"}), HasSubstr("--mtls-allow"));
  EXPECT_THAT(UsageError({"--mtls-allow=spiffe://a/b"}), HasSubstr("--mtls-inbound strict"));
  EXPECT_THAT(UsageError({"--mtls-inbound-plaintext-ports=80"}), HasSubstr("--mtls-inbound"));
  Variables().clear();
  EXPECT_THAT(UsageError({"--mtls-inbound=strict", "--mtls-allow=spiffe://a/b"}),
              HasSubstr("--mtls-credentials"));
  EXPECT_THAT(UsageError({"--mtls-trust-bundle=a=b"}), HasSubstr("--mtls-credentials"));
  EXPECT_THAT(UsageError({"--mtls-trust-bundle=/etc/east.pem"}), HasSubstr("DOMAIN=FILE"));
  EXPECT_THAT(UsageError({"--mtls-inbound=maybe"}), HasSubstr("off, permissive or strict"));
  EXPECT_THAT(UsageError({"--mtls-min-version=1.1"}), HasSubstr("1.2 or 1.3"));
  EXPECT_EQ(Parse({"--mtls-min-version=1.2"}).config.mtls.oldest_tls, tls::OldestTls::k12);
  EXPECT_EQ(Parse({}).config.mtls.oldest_tls, tls::OldestTls::k13);
  EXPECT_TRUE(Parse({}).config.mtls.ktls);
  EXPECT_TRUE(Parse({"--ktls=auto"}).config.mtls.ktls);
  EXPECT_FALSE(Parse({"--ktls=off"}).config.mtls.ktls);
  EXPECT_THAT(UsageError({"--ktls=on"}), HasSubstr("auto or off"));
  EXPECT_THAT(UsageError({"--mtls-allow=*"}), HasSubstr("\"*\""));
  Variables()["SLUICE_PROXY_MTLS_ALLOW"] = " ";
  EXPECT_THAT(UsageError({}), HasSubstr("at least one"));
}

TEST_F(OptionsTest, Http) {
  EXPECT_FALSE(Parse({}).config.http.enabled());
  EXPECT_EQ(Parse({}).config.http.headers, HttpHeaderSet::All());
  EXPECT_TRUE(Parse({"--http=auto"}).config.http.enabled());
  EXPECT_FALSE(Parse({"--http=off"}).config.http.enabled());
  EXPECT_THAT(UsageError({"--http=on"}), HasSubstr("off or auto"));
  const HttpHeaderSet some = Parse({"--http-headers=request-id,server"}).config.http.headers;
  EXPECT_TRUE(some.has(HttpHeaders::kRequestId) && some.has(HttpHeaders::kServer));
  EXPECT_FALSE(some.has(HttpHeaders::kTracing));
  EXPECT_EQ(Parse({"--http-headers=none"}).config.http.headers, HttpHeaderSet());
  EXPECT_EQ(Parse({"--http-headers=all"}).config.http.headers, HttpHeaderSet::All());
  EXPECT_THAT(UsageError({"--http-headers=x-request-id"}), HasSubstr("request-id, tracing"));
}

TEST_F(OptionsTest, ReadsTheAdminToken) {
  const std::string path = testing::TempDir() + "sluice-admin-token";
  const auto write = [&](std::string_view text) { std::ofstream(path) << text; };
  write("s3cret\n");
  EXPECT_EQ(Parse({"--admin-token-file=" + path}).config.admin_token, "s3cret");
  for (const char* const text : {"", "\n", "two words", "two\nlines", "\x01"}) {
    write(text);
    EXPECT_THAT(UsageError({"--admin-token-file=" + path}), HasSubstr("the token")) << text;
  }
  std::filesystem::remove(path);
  EXPECT_THAT(UsageError({"--admin-token-file=" + path}), HasSubstr("No such file"));
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(UsageError({"--admin-token-file=" + path}), HasSubstr("regular file"));
  std::filesystem::remove(path);
}

TEST_F(OptionsTest, ThePictureOfTheRulesNeedNotBeThereYet) {
  EXPECT_EQ(Parse({}).config.rules_graph, "");
  EXPECT_EQ(Parse({"--rules-graph", "/none/rules.svg"}).config.rules_graph, "/none/rules.svg");
}

}  // namespace
}  // namespace sluice::proxy
