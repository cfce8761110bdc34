// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "test/unit/tls/test_authority.h"

namespace sluice::tls {

// `what`, valid from a minute ago for a day by the machine's clock, which tests of whole programs
// cannot change.
inline TestCertificate ValidToday(TestCertificate what) {
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now() - kTestNow);
  what.from = now - std::chrono::minutes(1);
  what.until = now + std::chrono::hours(24);
  return what;
}

inline TestCertificate Workload(const std::string& id) {
  return ValidToday({.names = "URI:" + id});
}

// A directory of credentials with the names of Istio's files, which is removed with it.
class CredentialDirectory {
 public:
  CredentialDirectory() {
    std::string path = (std::filesystem::temp_directory_path() / "sluice-mtls-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot make " + path);
    path_ = path;
    // For a proxy of another user.
    std::filesystem::permissions(path_, std::filesystem::perms(0755));
  }
  CredentialDirectory(const TestIdentity& identity, const std::string& roots)
      : CredentialDirectory() {
    Put(identity, roots);
  }
  ~CredentialDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  CredentialDirectory(const CredentialDirectory&) = delete;
  CredentialDirectory& operator=(const CredentialDirectory&) = delete;

  void Put(const TestIdentity& identity, const std::string& roots) const {
    Write("cert-chain.pem", identity.Pem());
    Write("key.pem", identity.KeyPem());
    Write("root-cert.pem", roots);
  }
  // As a whole: a reader sees the old file or the new one.
  void Write(const std::string& name, const std::string& text) const {
    const std::string part = File("." + name);
    std::ofstream(part) << text;
    std::filesystem::rename(part, File(name));
  }

  std::string File(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace sluice::tls
