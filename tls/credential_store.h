// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "tls/credentials.h"

namespace sluice::tls {

// The credentials that new connections use, loaded again while the program runs. Whoever has a
// version keeps it for as long as it likes. Thread-safe.
class CredentialStore {
 public:
  enum class Outcome {
    kSame,      // the files are what they were
    kReplaced,  // there is a new version
    kFailed,    // the files cannot be used; the version before stays
  };
  struct Reloaded {
    Outcome outcome = Outcome::kSame;
    std::string why;  // of a failure
  };

  // Throws sluice::Error when there is nothing to start with.
  CredentialStore(CredentialSource source, Credentials::Time now);

  std::shared_ptr<const Credentials> Current() const;

  // Looks at the files. Writers that replace one file after the other are seen in between: then the
  // key does not fit or the roots do not, and the next look finds all of it.
  Reloaded Reload(Credentials::Time now);

 private:
  const CredentialSource source_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Credentials> current_;
};

}  // namespace sluice::tls
