// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The flags of mutual TLS.
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/parse.h"
#include "cmd/sluice-proxy/flag.h"

namespace sluice::proxy {
namespace {

MtlsInbound Inbound(std::string_view text) {
  for (const MtlsInbound each :
       {MtlsInbound::kOff, MtlsInbound::kPermissive, MtlsInbound::kStrict}) {
    if (text == Name(each)) return each;
  }
  throw std::invalid_argument("off, permissive or strict");
}

// Calls `add` with each word of a list; there is at least one.
void ForEach(std::string_view list, const std::function<void(std::string_view)>& add) {
  const std::vector<std::string_view> items = SplitList(list);
  if (items.empty()) throw std::invalid_argument("at least one");
  for (const std::string_view item : items) add(item);
}

tls::TrustBundle Bundle(std::string_view text) {
  const std::size_t sign = text.find('=');
  const std::string domain(text.substr(0, sign));
  if (sign == std::string_view::npos || sign + 1 == text.size() || !tls::IsTrustDomain(domain)) {
    throw std::invalid_argument("DOMAIN=FILE, such as east.example=/etc/sluice/east.pem");
  }
  return {.trust_domain = domain, .file = std::string(text.substr(sign + 1))};
}

tls::OldestTls TlsVersion(std::string_view text) {
  if (text == "1.2") return tls::OldestTls::k12;
  if (text == "1.3") return tls::OldestTls::k13;
  throw std::invalid_argument("1.2 or 1.3");
}

bool Ktls(std::string_view text) {
  if (text == "auto") return true;
  if (text == "off") return false;
  throw std::invalid_argument("auto or off");
}

std::string File(std::string_view text) {
  if (text.empty()) throw std::invalid_argument("a file");
  return std::string(text);
}

}  // namespace

std::string Directory(std::string_view text) {
  if (text.empty()) throw std::invalid_argument("a directory");
  return std::string(text);
}

const std::vector<Flag>& MtlsFlags() {
  static const std::vector<Flag> flags = {
      {"mtls-credentials", "DIR",
       "speak mutual TLS with the certificate, key and roots in this directory, named as Istio, "
       "cert-manager's csi-driver-spiffe, spiffe-helper or GKE name them; loaded again when they "
       "change",
       [](Options& o, std::string_view v) { o.config.mtls.credentials.directory = Directory(v); }},
      {"mtls-trust-bundle", "DOMAIN=FILE",
       "the roots of another trust domain; several are separated by commas",
       [](Options& o, std::string_view v) {
         ForEach(v, [&](std::string_view item) {
           o.config.mtls.credentials.bundles.push_back(Bundle(item));
         });
       }},
      {"mtls-inbound", "off|permissive|strict",
       "what inbound connections have to be: anything (off), mutual TLS or anything else "
       "(permissive), or mutual TLS (strict)",
       [](Options& o, std::string_view v) { o.config.mtls.inbound = Inbound(v); }},
      {"mtls-allow", "PATTERN,...",
       "who may come in over mutual TLS: spiffe://cluster.local/ns/shop/sa/*, where * is any "
       "segment and ** at the end is one or more; strict needs it, permissive lets in everybody "
       "without it",
       [](Options& o, std::string_view v) {
         ForEach(v, [&](std::string_view item) {
           o.config.mtls.allow.push_back(tls::SpiffePattern::Parse(item));
         });
       }},
      {"mtls-inbound-plaintext-ports", "PORTS",
       "ports of the application of which --mtls-inbound asks nothing, such as 8081,9000-9010, for "
       "probes (none)",
       [](Options& o, std::string_view v) {
         std::vector<PortRange> ports;
         ForEach(v, [&](std::string_view item) { ports.push_back(PortRange::Parse(item)); });
         o.config.mtls.inbound_plaintext_ports = Coalesce(std::move(ports));
       }},
      {"mtls-detection-timeout", "DURATION",
       "with permissive, take a client that has said nothing for this long for plaintext (1s)",
       [](Options& o, std::string_view v) { o.config.mtls.detection_timeout = Timeout(v); }},
      {"mtls-min-version", "1.2|1.3", "the oldest version of TLS that peers may speak (1.3)",
       [](Options& o, std::string_view v) { o.config.mtls.oldest_tls = TlsVersion(v); }},
      {"ktls", "auto|off",
       "let the kernel encrypt and decrypt for established connections of TLS 1.3, if it has kTLS "
       "(auto)",
       [](Options& o, std::string_view v) { o.config.mtls.ktls = Ktls(v); }},
      {"mtls-outbound", "FILE",
       "connect to the destinations in this file over mutual TLS or not at all: one a line, with "
       "address or range, ports and the SPIFFE IDs that may answer; read again when it changes",
       [](Options& o, std::string_view v) { o.config.mtls.outbound_file = File(v); }},
  };
  return flags;
}

void CheckMtls(const MtlsConfig& mtls) {
  const bool strict = mtls.inbound == MtlsInbound::kStrict;
  const bool asks = mtls.inbound != MtlsInbound::kOff;
  const auto require = [](bool met, const char* flag, const char* needed, const char* help) {
    if (!met) {
      throw Usage("set up mutual TLS", flag, std::string("there is no ") + needed, help);
    }
  };
  require(!asks || mtls.enabled(), "--mtls-inbound", "--mtls-credentials",
          "a certificate, its key and roots are what it is made with");
  require(!strict || !mtls.allow.empty(), "--mtls-inbound strict", "--mtls-allow",
          "say who may come in, such as --mtls-allow 'spiffe://cluster.local/ns/*/sa/*'");
  require(mtls.credentials.bundles.empty() || mtls.enabled(), "--mtls-trust-bundle",
          "--mtls-credentials", "the own certificate comes from there");
  require(mtls.outbound_file.empty() || mtls.enabled(), "--mtls-outbound", "--mtls-credentials",
          "a certificate, its key and roots are what it is made with");
  require(mtls.allow.empty() || asks, "--mtls-allow", "--mtls-inbound strict",
          "without it everybody comes in");
  require(mtls.inbound_plaintext_ports.empty() || asks, "--mtls-inbound-plaintext-ports",
          "--mtls-inbound strict", "without it all ports take plaintext");
}

}  // namespace sluice::proxy
