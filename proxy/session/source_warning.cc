// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/session/source_warning.h"

#include <atomic>

#include <spdlog/spdlog.h>

namespace sluice::proxy {

void WarnAboutSourceOnce(const IpAddress& source) {
  static std::atomic<bool> warned{false};
  if (warned.exchange(true)) return;
  spdlog::warn(
      "inbound connections need the source address {}, which this network namespace does not "
      "have; sluice-init adds it when it captures IPv6 (by hand: ip -6 addr add {}/128 dev lo)",
      source.ToString(), source.ToString());
}

}  // namespace sluice::proxy
