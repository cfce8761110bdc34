// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "netns/namespace.h"

namespace sluice::testing_support {

// A user. The default is an application that is neither root nor the proxy.
struct Credentials {
  uid_t uid = 1000;
  gid_t gid = 1000;
  std::vector<gid_t> groups = {};  // supplementary
};

inline constexpr uid_t kProxyId = 1337;
inline const Credentials kRoot = {.uid = 0, .gid = 0};
inline const Credentials kApplication = {};
inline const Credentials kProxy = {.uid = kProxyId, .gid = kProxyId};

// Why this process cannot create namespaces, or nullopt. Use it as
//   if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
std::optional<std::string> MissingPrivilege();

// Runs `body` in `where` as `who` on a new thread, so that other threads keep their namespace and
// credentials. Returns when it is done, and rethrows its exceptions.
void RunIn(const netns::Namespace& where, const Credentials& who,
           const std::function<void()>& body);

// The same, with a result.
template <typename Body>
auto CallIn(const netns::Namespace& where, const Credentials& who, Body body) {
  std::optional<std::invoke_result_t<Body>> out;
  RunIn(where, who, [&] { out = body(); });
  return std::move(*out);
}

}  // namespace sluice::testing_support
