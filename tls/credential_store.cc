// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/credential_store.h"

#include <utility>

#include "base/error.h"

namespace sluice::tls {

CredentialStore::CredentialStore(CredentialSource source, Credentials::Time now)
    : source_(std::move(source)), current_(Credentials::Load(source_, now)) {}

std::shared_ptr<const Credentials> CredentialStore::Current() const {
  const std::scoped_lock lock(mutex_);
  return current_;
}

CredentialStore::Reloaded CredentialStore::Reload(Credentials::Time now) {
  try {
    // Without the lock: new connections do not wait for a disk.
    std::shared_ptr<const Credentials> loaded = Credentials::Load(source_, now);
    const std::scoped_lock lock(mutex_);
    if (loaded->digest() == current_->digest()) return {};
    current_.swap(loaded);
    return {.outcome = Outcome::kReplaced, .why = {}};
  } catch (const Error& error) {
    return {.outcome = Outcome::kFailed, .why = error.what()};
  }
}

}  // namespace sluice::tls
