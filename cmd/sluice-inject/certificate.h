// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace sluice::inject {

struct CertificateOptions {
  std::string name_space = "sluice-system";
  std::string service = "sluice-webhook";
  std::chrono::seconds validity = std::chrono::hours(24 * 365);
  std::string failure_policy = "Fail";
  std::vector<std::string> trust;  // paths of additional trusted CA certificates
};

// Two manifests: the MutatingWebhookConfiguration, which trusts a new CA and those of `trust`, and
// the Secret with a service certificate signed by the new CA. The CA's key is discarded. Throws
// Error.
std::string CertificateManifests(const CertificateOptions& options);

}  // namespace sluice::inject
