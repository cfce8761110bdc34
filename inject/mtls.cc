// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/mtls.h"

#include <algorithm>
#include <set>
#include <stdexcept>

#include <boost/json/object.hpp>

#include "base/parse.h"
#include "tls/spiffe_id.h"

namespace sluice::inject {
namespace {

namespace json = boost::json;
using yaml::Node;

constexpr std::string_view kCsiDriver = "csi-driver-spiffe";
constexpr std::string_view kSecret = "secret/";
// Where csi-driver-spiffe's documentation mounts its files.
constexpr const char* kCredentialPath = "/var/run/secrets/spiffe.io";
constexpr const char* kCredentialVolume = "sluice-mtls-credentials";
constexpr const char* kPolicyPath = "/etc/sluice/policy";
constexpr const char* kPolicyVolume = "sluice-mtls-policy";
// The key of the ConfigMap, and the name of its file.
constexpr const char* kPolicyKey = "mtls-outbound";

// A DNS subdomain (RFC 1123), as in the names of Kubernetes' objects.
bool IsObjectName(std::string_view text) {
  return !text.empty() && text.size() <= 253 && text.front() != '-' && text.front() != '.' &&
         text.back() != '-' && text.back() != '.' && std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
         });
}

bool Within(const std::vector<PortRange>& ranges, std::int64_t port) {
  return std::ranges::any_of(
      ranges, [port](const PortRange& range) { return range.first <= port && port <= range.last; });
}

class Planner {
 public:
  Planner(const MtlsSettings& settings, const capture::CaptureConfig& capture, const PodReader& pod,
          const Node* annotations)
      : settings_(settings), capture_(capture), pod_(pod), annotations_(annotations) {}

  MtlsPlan Make() {
    Require();
    Credentials();
    if (Asks()) Inbound();
    if (!settings_.outbound.empty()) Outbound();
    return std::move(plan_);
  }

 private:
  bool Asks() const { return settings_.inbound != "off"; }
  bool IsStrict() const { return settings_.inbound == "strict"; }

  void Warn(std::string text) { plan_.warnings.push_back("mutual TLS: " + std::move(text)); }

  void Require() const {
    if (settings_.credentials.empty()) {
      throw std::invalid_argument(
          "mutual TLS needs --mtls-credentials or the annotation sluice.dev/mtls-credentials");
    }
    if (IsStrict() && settings_.allow.empty()) {
      throw std::invalid_argument(
          "--mtls-inbound strict needs --mtls-allow or the annotation sluice.dev/mtls-allow: who "
          "may come in");
    }
  }

  void Credentials() {
    json::object volume{{"name", kCredentialVolume}};
    if (settings_.credentials == kCsiDriver) {
      // Its files belong to root and this group: the proxy's.
      volume["csi"] = json::object{
          {"driver", "spiffe.csi.cert-manager.io"},
          {"readOnly", true},
          {"volumeAttributes", json::object{{"spiffe.csi.cert-manager.io/fs-group", "1337"}}}};
    } else {
      // With the default mode everybody in a container can read it; only the proxy's has it.
      volume["secret"] = json::object{{"secretName", settings_.credentials.substr(kSecret.size())}};
    }
    plan_.volumes.push_back(std::move(volume));
    Mount(kCredentialVolume, kCredentialPath);
    plan_.flags.emplace_back("mtls-credentials", kCredentialPath);
  }

  void Mount(const char* volume, const char* path) {
    plan_.mounts.push_back(json::object{{"name", volume}, {"mountPath", path}, {"readOnly", true}});
  }

  void Inbound() {
    plan_.flags.emplace_back("mtls-inbound", settings_.inbound);
    if (!settings_.allow.empty()) plan_.flags.emplace_back("mtls-allow", settings_.allow);
    std::vector<PortRange> ports = Exempt();
    WarnOfCapture();
    if (IsStrict()) {
      WarnOfScrapes(ports);
      if (settings_.outbound.empty()) {
        Warn(
            "there is no --mtls-outbound: what this pod itself connects to gets plaintext, which a "
            "strict peer resets");
      }
    }
    if (ports.empty()) return;
    plan_.flags.emplace_back("mtls-inbound-plaintext-ports", PortList(ports));
  }

  // The ports of which nothing is asked: those that were named, and those of the kubelet.
  std::vector<PortRange> Exempt() {
    std::vector<PortRange> ports = settings_.plaintext_ports;
    std::set<std::int64_t> warned;
    for (const Check& check : pod_.Checks()) {
      const std::string whose = check.what + " of the container " + check.container;
      if (!check.number || *check.number < 1 || *check.number > 65535) {
        Warn(whose + " names the port " + check.port +
             ", which is not known: put its number into --mtls-inbound-plaintext-ports");
        continue;
      }
      if (!IsCaptured(capture_, *check.number)) continue;
      const auto port = static_cast<std::uint16_t>(*check.number);
      ports.push_back({port, port});
      if (IsStrict() && warned.insert(*check.number).second) {
        Warn("port " + std::to_string(port) + " takes plaintext from everybody, because " + whose +
             " asks it without a certificate: give probes a port of their own, or use exec");
      }
    }
    return Coalesce(std::move(ports));
  }

  // Ports that peers may have rules for, but which do not come to the proxy.
  void WarnOfCapture() {
    if (!capture_.inbound_ports.all && capture_.inbound_ports.ports.empty()) {
      Warn("no inbound port is captured: nobody is asked for it");
      return;
    }
    std::vector<PortRange> excluded = capture_.inbound_exclude_ports;
    // The proxy's own: status and metrics.
    std::erase_if(excluded, [](const PortRange& range) {
      return range.first >= 15000 && range.last <= 15099;
    });
    if (capture_.inbound_ports.all && !excluded.empty()) {
      Warn("the ports " + PortList(excluded) +
           " are not captured: a peer with a rule for them would find no mutual TLS there");
    }
  }

  // Prometheus has no certificate of this mesh.
  void WarnOfScrapes(const std::vector<PortRange>& exempt) {
    if (PodReader::TextOf(pod_.Get(annotations_, "prometheus.io/scrape")) != "true") return;
    const auto port = PodReader::NumberOf(pod_.Get(annotations_, "prometheus.io/port"));
    if (!port || !IsCaptured(capture_, *port) || Within(exempt, *port)) return;
    Warn("prometheus.io/port " + std::to_string(*port) +
         " is for Prometheus, which does not speak it: put the port into "
         "--mtls-inbound-plaintext-ports");
  }

  void Outbound() {
    plan_.volumes.push_back(json::object{
        {"name", kPolicyVolume}, {"configMap", json::object{{"name", settings_.outbound}}}});
    Mount(kPolicyVolume, kPolicyPath);
    plan_.flags.emplace_back("mtls-outbound", std::string(kPolicyPath) + "/" + kPolicyKey);
  }

  const MtlsSettings& settings_;
  const capture::CaptureConfig& capture_;
  const PodReader& pod_;
  const Node* annotations_;
  MtlsPlan plan_;
};

}  // namespace

MtlsPlan PlanMtls(const MtlsSettings& settings, const capture::CaptureConfig& capture,
                  const PodReader& pod, const Node* annotations) {
  if (settings.credentials.empty() && settings.inbound == "off" && settings.outbound.empty()) {
    return {};
  }
  return Planner(settings, capture, pod, annotations).Make();
}

bool IsCaptured(const capture::CaptureConfig& capture, std::int64_t port) {
  const capture::PortSelection& selection = capture.inbound_ports;
  return selection.all ? !Within(capture.inbound_exclude_ports, port)
                       : Within(selection.ports, port);
}

std::string PortList(const std::vector<PortRange>& ports) {
  std::string list;
  for (const PortRange& range : ports) list += (list.empty() ? "" : ",") + range.ToString();
  return list;
}

void SetMtlsCredentials(MtlsSettings& settings, const std::string& value) {
  const bool good = value.empty() || value == kCsiDriver ||
                    (value.starts_with(kSecret) && IsObjectName(value.substr(kSecret.size())));
  if (!good) throw std::invalid_argument("csi-driver-spiffe, or secret/ and the name of a Secret");
  settings.credentials = value;
}

void SetMtlsInbound(MtlsSettings& settings, const std::string& value) {
  if (value != "off" && value != "permissive" && value != "strict") {
    throw std::invalid_argument("off, permissive or strict");
  }
  settings.inbound = value;
}

void SetMtlsAllow(MtlsSettings& settings, const std::string& value) {
  std::string text;
  for (const std::string_view item : SplitList(value)) {
    text += (text.empty() ? "" : ",") + tls::SpiffePattern::Parse(item).ToString();
  }
  settings.allow = text;
}

void SetMtlsPlaintextPorts(MtlsSettings& settings, const std::string& value) {
  std::vector<PortRange> ports;
  for (const std::string_view item : SplitList(value)) ports.push_back(PortRange::Parse(item));
  settings.plaintext_ports = Coalesce(std::move(ports));
}

void SetMtlsOutbound(MtlsSettings& settings, const std::string& value) {
  if (!value.empty() && !IsObjectName(value)) {
    throw std::invalid_argument("the name of a ConfigMap");
  }
  settings.outbound = value;
}

}  // namespace sluice::inject
