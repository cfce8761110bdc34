// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/pod/annotations.h"

#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/capture_rules.h"
#include "capture/settings/init_config.h"
#include "test/support/error_of.h"

namespace sluice::capture {
namespace {

using testing::HasSubstr;
using Map = std::map<std::string, std::string, std::less<>>;

Annotations Of(const Map& map) {
  return [&map](std::string_view name) {
    const auto found = map.find(name);
    return found == map.end() ? nullptr : &found->second;
  };
}

TEST(PodAnnotations, EverythingIsCapturedButTheProxysPorts) {
  const CaptureConfig config = ToInitConfig(PodSettings({}, Of({}), 15021)).capture;
  EXPECT_TRUE(config.inbound_ports.all);
  EXPECT_TRUE(config.outbound_ranges.all);
  EXPECT_EQ(config.inbound_exclude_ports,
            (std::vector{PortRange{15021, 15021}, PortRange{15090, 15090}}));
  EXPECT_EQ(config.proxy_uids, std::vector{1337U});
}

// The node reads back what the injector resolved.
TEST(PodAnnotations, WhatIsDescribedIsRead) {
  const Map given = {{"drop-invalid", "true"},
                     {"istio-inbound-interception-mode", "TPROXY"},
                     {"istio-service-cidr", ""},
                     {"redirect-dns", "true"},
                     {"exclude-uids", "12,13"}};
  const Map traffic = {{"traffic.sidecar.istio.io/excludeInboundPorts", "22,8000-8010"},
                       {"traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8,fd00::/8"}};
  const Settings settings = PodSettings(given, Of(traffic), 0);
  Map written = traffic;
  written.emplace(kCaptureAnnotation, DescribeCapture(settings));
  const Settings read = AnnotatedSettings(Of(written));
  for (std::size_t i = 0; i < read.values.size(); ++i) {
    EXPECT_EQ(read.values[i].value, settings.values[i].value) << i;
  }
  EXPECT_EQ(BuildRules(ToInitConfig(read).capture).v4,
            BuildRules(ToInitConfig(settings).capture).v4);
}

TEST(PodAnnotations, PortsMayBeCapturedOnlyWhileSomebodyListens) {
  const Map asked = {{"sluice.dev/capture-listening", "true"}};
  const Settings settings = PodSettings({}, Of(asked), 0);
  EXPECT_TRUE(ToInitConfig(settings).capture.capture_listening);
  // And on the node.
  const Map written = {{std::string(kCaptureAnnotation), DescribeCapture(settings)}};
  EXPECT_TRUE(ToInitConfig(AnnotatedSettings(Of(written))).capture.capture_listening);
  EXPECT_TRUE(ToInitConfig(AnnotatedSettings(Of(asked))).capture.capture_listening);
  const Map tproxy = {{"sluice.dev/capture-listening", "true"},
                      {"sidecar.istio.io/interceptionMode", "TPROXY"}};
  const Error error = testing_support::ErrorOf([&] { PodSettings({}, Of(tproxy), 0); });
  EXPECT_THAT(error.what(), HasSubstr("\"true\" for the annotation sluice.dev/capture-listening: "
                                      "expected false in TPROXY mode"));
}

TEST(PodAnnotations, AHandWrittenOneMaySayLittle) {
  const Map map = {{"sluice.dev/capture", R"({"istio-inbound-ports": [80, "443"]})"},
                   {"traffic.sidecar.istio.io/excludeOutboundPorts", "5432"}};
  const CaptureConfig config = ToInitConfig(AnnotatedSettings(Of(map))).capture;
  EXPECT_EQ(config.inbound_ports.ports, (std::vector{PortRange{80, 80}, PortRange{443, 443}}));
  EXPECT_EQ(config.outbound_exclude_ports, (std::vector{PortRange{5432, 5432}}));
}

// Anyone who may create a pod must not make its node read files, or write rules elsewhere.
TEST(PodAnnotations, OnlyWhatIsCapturedMayBeSaid) {
  for (const char* const name :
       {"config", "network-namespace", "cleanup-only", "run-validation", "wait", "envoy-user",
        "skip-rule-apply", "print-config", "log-format", "batch"}) {
    const Map map = {{"sluice.dev/capture", "{\"" + std::string(name) + "\": \"x\"}"}};
    const Error error = testing_support::ErrorOf([&] { AnnotatedSettings(Of(map)); });
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("sluice.dev/capture"));
  }
}

TEST(PodAnnotations, MistakesNameTheAnnotation) {
  const auto said = [](const Map& map) {
    return std::string(
        testing_support::ErrorOf([&] { ToInitConfig(AnnotatedSettings(Of(map))); }).what());
  };
  EXPECT_THAT(said({{"sluice.dev/capture", "{"}}), HasSubstr("sluice.dev/capture:1:2: not JSON"));
  EXPECT_THAT(said({{"sluice.dev/capture", "[]"}}), HasSubstr("one JSON object"));
  EXPECT_THAT(said({{"sluice.dev/capture", R"({"istio-inbound-port": "80"})"}}),
              HasSubstr("did you mean"));
  EXPECT_THAT(said({{"sluice.dev/capture", R"({"istio-inbound-ports": "eighty"})"}}),
              HasSubstr(R"("istio-inbound-ports" in sluice.dev/capture)"));
  EXPECT_THAT(said({{"traffic.sidecar.istio.io/includeInboundPorts", "eighty"}}),
              HasSubstr("the annotation traffic.sidecar.istio.io/includeInboundPorts"));
  EXPECT_THAT(said({{"status.sidecar.istio.io/port", "70000"}}),
              HasSubstr("the annotation status.sidecar.istio.io/port"));
}

}  // namespace
}  // namespace sluice::capture
