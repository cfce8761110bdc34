// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "tls/credentials.h"

namespace sluice::tls {

// The credentials for new connections, reloaded while the program runs. A caller may keep a version
// as long as it likes. Thread-safe.
class CredentialStore {
 public:
  enum class Outcome {
    kSame,      // the files are unchanged
    kReplaced,  // there is a new version
    kFailed,    // the files are not usable; the previous version stays
  };
  struct Reloaded {
    Outcome outcome = Outcome::kSame;
    std::string why;  // why it failed
  };

  // Throws sluice::Error when the first load fails.
  CredentialStore(CredentialSource source, Credentials::Time now);

  std::shared_ptr<const Credentials> Current() const;

  // Checks the files. While a writer replaces them one by one, the key or the roots may not match;
  // the next call finds them complete.
  Reloaded Reload(Credentials::Time now);

 private:
  const CredentialSource source_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Credentials> current_;
};

}  // namespace sluice::tls
