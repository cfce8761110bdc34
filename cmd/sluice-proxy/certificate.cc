// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-proxy/certificate.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string_view>

#include "base/duration.h"
#include "base/error.h"
#include "base/parse.h"
#include "base/text/utc_time.h"
#include "cmd/sluice-proxy/flag.h"
#include "tls/certificate.h"
#include "tls/credential_files.h"
#include "tls/new_files.h"
#include "tls/spiffe_id.h"

namespace sluice::proxy {
namespace {

// As Istio names the files of an authority that it is given.
constexpr const char* kAuthorityCertificate = "ca-cert.pem";
constexpr const char* kAuthorityKey = "ca-key.pem";
// For trying out; whoever needs it longer has an issuer that renews.
constexpr std::chrono::hours kAuthorityValidity{24 * 365};

struct CertificateOptions {
  std::string authority;  // a directory
  std::string directory;  // of the workload's files; empty: only the authority
  std::string trust_domain = "cluster.local";
  std::string name_space = "default";
  std::string service_account = "default";
  std::chrono::seconds validity = std::chrono::hours(24);
  bool overwrite = false;
};

// A segment of a SPIFFE ID. Kubernetes' names are a part of these.
std::string KubernetesName(std::string_view text) {
  const bool good = !text.empty() && text.size() <= 253 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
  if (!good) throw std::invalid_argument("small letters, digits, dashes and dots");
  return std::string(text);
}

std::string TrustDomain(std::string_view text) {
  if (!tls::IsTrustDomain(text)) {
    throw std::invalid_argument("a trust domain such as cluster.local");
  }
  return std::string(text);
}

std::chrono::seconds Validity(std::string_view text) {
  const auto value = ParseDuration(text, kAuthorityValidity);
  if (value < std::chrono::minutes(1)) throw std::invalid_argument("a minute at least");
  return std::chrono::floor<std::chrono::seconds>(value);
}

const std::vector<FlagOf<CertificateOptions>>& CertificateFlags() {
  static const std::vector<FlagOf<CertificateOptions>> flags = {
      {"ca", "DIRECTORY", "of the certificate authority, which is made when there is none",
       [](CertificateOptions& o, std::string_view v) { o.authority = Directory(v); }},
      {"directory", "DIRECTORY",
       "for the workload's certificate, key and roots, named as Istio names them, for "
       "--mtls-credentials",
       [](CertificateOptions& o, std::string_view v) { o.directory = Directory(v); }},
      {"trust-domain", "DOMAIN", "of the workload's SPIFFE ID (cluster.local)",
       [](CertificateOptions& o, std::string_view v) { o.trust_domain = TrustDomain(v); }},
      {"namespace", "NAME", "of the workload (default)",
       [](CertificateOptions& o, std::string_view v) { o.name_space = KubernetesName(v); }},
      {"service-account", "NAME", "of the workload (default)",
       [](CertificateOptions& o, std::string_view v) { o.service_account = KubernetesName(v); }},
      {"validity", "DURATION", "of the workload's certificate (24h)",
       [](CertificateOptions& o, std::string_view v) { o.validity = Validity(v); }},
      {"overwrite", nullptr, "replace the workload's files where they exist",
       [](CertificateOptions& o, std::string_view v) { o.overwrite = ParseBool(v); }},
  };
  return flags;
}

CertificateOptions ReadOptions(const std::vector<std::string>& arguments) {
  constexpr const char* kDoing = "make a certificate";
  const auto values = ReadFlags(TextsOf(CertificateFlags()), false, arguments, kDoing);
  CertificateOptions options;
  for (const auto& flag : CertificateFlags()) {
    const auto given = values.find(flag.name);
    if (given != values.end()) SetFlag(flag, options, "--" + given->first, given->second);
  }
  if (options.authority.empty()) {
    throw Usage(kDoing, "", "there is no --ca",
                "name the directory of the authority; it is made when there is none");
  }
  return options;
}

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::string EndOf(const tls::KeyPair& pair, const std::string& name) {
  return "valid until " + UtcTime(tls::ExpiryOf(pair.certificate, name));
}

// The authority in the directory. Makes it when there is none, and says so in `report`.
tls::KeyPair Authority(const std::string& directory, std::string& report) {
  const std::string certificate = directory + "/" + kAuthorityCertificate;
  const std::string key = directory + "/" + kAuthorityKey;
  if (Exists(certificate) || Exists(key)) {
    constexpr const char* kDoing = "read the certificate authority";
    return {.certificate = tls::ReadSmallFile(certificate, kDoing),
            .key = tls::ReadSmallFile(key, kDoing)};
  }
  // Each authority has a name of its own, so that a client finds the right one at once.
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  const tls::KeyPair made =
      tls::MakeAuthority("Sluice CA " + std::to_string(seconds), kAuthorityValidity);
  tls::WriteNewFiles(directory,
                     {{.name = kAuthorityKey, .text = made.key, .mode = 0600},
                      {.name = kAuthorityCertificate, .text = made.certificate, .mode = 0644}},
                     false);
  report += directory + ": a new certificate authority, " + EndOf(made, certificate) + "\n";
  return made;
}

}  // namespace

std::string MakeCertificate(const std::vector<std::string>& arguments) {
  const CertificateOptions options = ReadOptions(arguments);
  std::string name = "spiffe://" + options.trust_domain + "/ns/" + options.name_space + "/sa/" +
                     options.service_account;
  try {
    name = tls::SpiffeId::Parse(name).ToString();
  } catch (const std::invalid_argument& error) {
    throw Usage("make a certificate", name, std::string("expected ") + error.what());
  }
  std::string report;
  const tls::KeyPair authority = Authority(options.authority, report);
  if (options.directory.empty()) return report;
  const std::string root = options.authority + "/" + kAuthorityCertificate;
  const tls::KeyPair made = tls::MakeWorkload(authority, name, options.validity);
  if (tls::ExpiryOf(made.certificate, name) > tls::ExpiryOf(authority.certificate, root)) {
    throw Error(ErrorKind::kFailed,
                {.doing = "make a certificate",
                 .target = name,
                 .why = "its authority ends before it, " + EndOf(authority, root),
                 .help = "make it for a shorter time by --validity, or another "
                         "authority by --ca"});
  }
  const tls::CredentialLayout& layout = tls::kCredentialLayouts[0];
  tls::WriteNewFiles(
      options.directory,
      {{.name = std::string(layout.roots), .text = authority.certificate, .mode = 0644},
       {.name = std::string(layout.key), .text = made.key, .mode = 0600},
       {.name = std::string(layout.chain), .text = made.certificate, .mode = 0644}},
      options.overwrite);
  return report + options.directory + ": " + name + ", " + EndOf(made, name) + "\n";
}

OptionGroup DescribeCertificate() {
  return Describe("Of certificate", TextsOf(CertificateFlags()));
}

}  // namespace sluice::proxy
