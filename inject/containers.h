// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "inject/mtls.h"
#include "inject/settings.h"

namespace sluice::inject {

inline constexpr const char* kInitName = "sluice-init";
inline constexpr const char* kVerifyName = "sluice-validation";
inline constexpr const char* kProxyName = "sluice-proxy";

// The input for the containers of one pod.
struct ContainerPlan {
  Settings settings;                    // including the annotations
  std::vector<std::string> init_flags;  // for sluice-init
  bool tproxy = false;
  std::string outbound_port;
  std::string inbound_port;
  bool redirect_dns = false;
  bool nftables = false;
  unsigned status_port = 15020;  // 0: none
  unsigned drain_seconds = 25;
  std::string concurrency = "2";
  MtlsPlan mtls;
};

// Writes the rules; with --cni it verifies them.
boost::json::object InitContainer(const ContainerPlan& plan);
boost::json::object ProxyContainer(const ContainerPlan& plan);

}  // namespace sluice::inject
