// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-proxy/certificate.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string_view>

#include <boost/program_options.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/duration.h"
#include "base/error.h"
#include "base/parse.h"
#include "base/text/suggest.h"
#include "cmd/sluice-proxy/flag.h"
#include "tls/certificate.h"
#include "tls/credential_files.h"
#include "tls/new_files.h"
#include "tls/spiffe_id.h"

namespace sluice::proxy {
namespace {

namespace po = boost::program_options;

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

std::string SomeDirectory(std::string_view text) {
  if (text.empty()) throw std::invalid_argument("a directory");
  return std::string(text);
}

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

struct CertificateFlag {
  const char* name;
  const char* value_name;  // nullptr: a switch
  const char* help;
  void (*set)(CertificateOptions&, std::string_view);
};

constexpr CertificateFlag kFlags[] = {
    {"ca", "DIRECTORY", "of the certificate authority, which is made when there is none",
     [](CertificateOptions& o, std::string_view v) { o.authority = SomeDirectory(v); }},
    {"directory", "DIRECTORY",
     "for the workload's certificate, key and roots, named as Istio names them, for "
     "--mtls-credentials",
     [](CertificateOptions& o, std::string_view v) { o.directory = SomeDirectory(v); }},
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

CertificateOptions ReadOptions(const std::vector<std::string>& arguments) {
  constexpr const char* kDoing = "make a certificate";
  po::options_description description;
  std::vector<std::string_view> names;
  for (const CertificateFlag& flag : kFlags) {
    auto* const value = po::value<std::string>();
    if (flag.value_name == nullptr) value->implicit_value("true", "true");
    description.add_options()(flag.name, value);
    names.emplace_back(flag.name);
  }
  std::vector<std::string> words = arguments;
  std::ranges::replace(words, std::string("--overwrite"), std::string("--overwrite=true"));
  po::variables_map values;
  try {
    namespace style = po::command_line_style;
    po::store(po::command_line_parser(words)
                  .options(description)
                  .positional({})
                  .style(style::unix_style & ~style::allow_guessing)
                  .run(),
              values);
  } catch (const po::unknown_option& error) {
    throw Usage(kDoing, "", error.what(),
                SuggestFlag(error.get_option_name(), names, "see --help"));
  } catch (const po::error& error) {
    throw Usage(kDoing, "", error.what(), "see --help");
  }
  CertificateOptions options;
  for (const CertificateFlag& flag : kFlags) {
    if (values.count(flag.name) == 0) continue;
    const auto& value = values[flag.name].as<std::string>();
    try {
      flag.set(options, value);
    } catch (const std::invalid_argument& error) {
      throw Usage("read --" + std::string(flag.name), "value \"" + value + "\"",
                  "expected " + std::string(error.what()));
    }
  }
  if (options.authority.empty()) {
    throw Usage(kDoing, "", "there is no --ca",
                "name the directory of the authority; it is made when there is none");
  }
  return options;
}

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::string EndOf(const tls::KeyPair& pair, const std::string& name) {
  return fmt::format("valid until {:%Y-%m-%dT%H:%M:%SZ}", tls::ExpiryOf(pair.certificate, name));
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
  OptionGroup out{.title = "Of certificate", .options = {}};
  for (const CertificateFlag& flag : kFlags) {
    out.options.push_back(
        {flag.name, 0, flag.value_name == nullptr ? "" : flag.value_name, flag.help});
  }
  return out;
}

}  // namespace sluice::proxy
