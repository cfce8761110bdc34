// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace sluice::tls {

// The file names that a writer of credentials uses.
struct CredentialLayout {
  std::string_view writer;
  std::string_view chain;  // the workload's certificate, followed by the intermediates
  std::string_view key;
  std::string_view roots;  // of the workload's own trust domain
};

inline constexpr std::array<CredentialLayout, 4> kCredentialLayouts{{
    {"Istio", "cert-chain.pem", "key.pem", "root-cert.pem"},
    {"cert-manager", "tls.crt", "tls.key", "ca.crt"},
    {"spiffe-helper", "svid.pem", "svid_key.pem", "svid_bundle.pem"},
    {"GKE", "certificates.pem", "private_key.pem", "ca_certificates.pem"},
}};

// The contents of the three files. Wipes the key from memory when destroyed.
struct CredentialFiles {
  const CredentialLayout* layout = nullptr;
  std::string chain;
  std::string key;
  std::string roots;

  CredentialFiles() = default;
  CredentialFiles(CredentialFiles&&) = delete;
  ~CredentialFiles();
};

// Reads the files of the one complete layout in `directory` into `out`. Kubernetes puts all files
// of a volume into a new directory and points the symbolic link ..data to it: that directory is
// opened once, so that all three files are of the same version. Throws sluice::Error.
void ReadCredentialFiles(const std::string& directory, CredentialFiles& out);

// The content of a regular file of 1 MiB at most, such as a trust bundle; `doing` is what it is
// read for. Throws sluice::Error.
std::string ReadSmallFile(const std::string& path, const std::string& doing);

}  // namespace sluice::tls
