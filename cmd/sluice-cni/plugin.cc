// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-cni/plugin.h"

#include <linux/capability.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "apply/drift.h"
#include "apply/plan.h"
#include "apply/site.h"
#include "base/error.h"
#include "base/os/capabilities.h"
#include "base/os/read_all.h"
#include "base/standard_output.h"
#include "capture/settings/init_config.h"
#include "capture/settings/option_table.h"
#include "cmd/sluice-cni/say.h"
#include "netns/host.h"

namespace sluice::cni {
namespace {

[[noreturn]] void Fail(const Error& error, int code, const char* message) {
  if (error.kind() == ErrorKind::kLocked) code = Failure::kTryAgain;
  throw Failure{code, message, error.what()};
}

// The configuration from the pod's annotations.
capture::InitConfig ConfigOf(const Request& request) {
  try {
    capture::Settings settings = capture::AnnotatedSettings(request.Annotations());
    capture::Setting& backend = settings.values.at(capture::IndexOfOption("backend"));
    if (request.backend != "auto" && backend.is_default()) {
      backend = {request.backend, "\"backend\" in the network configuration"};
    }
    capture::InitConfig config = capture::ToInitConfig(settings);
    // The node's resolv.conf is not the pod's.
    for (const std::string& resolver : request.resolvers) {
      config.capture.dns_servers.push_back(IpAddress::Parse(resolver));
    }
    if (config.capture.dns_servers.empty()) config.capture.capture_all_dns = true;
    if (!config.capture.redirect_dns) {
      config.capture.dns_servers.clear();
      config.capture.capture_all_dns = false;
    }
    return config;
  } catch (const Error& error) {
    throw Failure{Failure::kAnnotations, "the pod's annotations cannot be used", error.what()};
  } catch (const std::invalid_argument& error) {
    throw Failure{Failure::kConfiguration, "a resolver of the pod is no address", error.what()};
  }
}

void Bring(capture::InitConfig& config, apply::Site& site) {
  site.lock.Try();
  if (!config.cleanup_only) netns::FillFromHost(config, site.network);
  apply::PlanContext context{
      .network = site.network, .backend = site.backend(), .other = site.backends.other()};
  capture::RunTransaction(apply::PlanSteps(config, context), site.lock, config.lock_wait);
  for (const std::string& warning : context.warnings) Say(warning);
}

void Apply(capture::InitConfig& config) {
  apply::Site site;
  site.backends.Choose(config);
  site.backends.Run([&] { Bring(config, site); });
  for (const std::string& warning : config.warnings) Say(warning);
}

void Enter(const Request& request) {
  try {
    netns::EnterForGood(netns::Namespace::Open(request.network_namespace));
  } catch (const Error& error) {
    throw Failure{Failure::kEnvironment, "the network namespace of CNI_NETNS cannot be entered",
                  error.what()};
  }
}

std::string Add(const Request& request) {
  // Before any change, so that a result that cannot be passed on changes nothing.
  std::string result = PassOn(request.previous, request.version);
  if (!IsOurs(request)) return result;
  capture::InitConfig config = ConfigOf(request);
  Enter(request);
  try {
    Apply(config);
  } catch (const Error& error) {
    Fail(error, Failure::kRules, "the rules of the pod could not be written");
  }
  return result;
}

std::string Check(const Request& request) {
  if (!IsOurs(request)) return {};
  capture::InitConfig config = ConfigOf(request);
  Enter(request);
  std::string drift;
  try {
    apply::Site site;
    site.backends.Choose(config);
    netns::FillFromHost(config, site.network);
    drift = apply::FindDrift(config, site.network, site.backends).Text();
  } catch (const Error& error) {
    Fail(error, Failure::kRules, "the rules of the pod could not be read");
  }
  if (!drift.empty()) {
    throw Failure{Failure::kDrift, "the rules of the pod are not those that it asks for", drift};
  }
  return {};
}

// Never fails: leftovers disappear with the network namespace, and a pod must be able to end.
std::string Delete(const Request& request) {
  if (!IsOurs(request) || request.network_namespace.empty()) return {};
  try {
    Enter(request);
    capture::InitConfig config;
    config.cleanup_only = true;
    Apply(config);
  } catch (const Failure& failure) {
    Say(failure.message + ": " + failure.details);
  } catch (const Error& error) {
    Say(error.what());
  }
  return {};
}

std::string Status() {
  if (!ReadCapabilities().Has(CAP_NET_ADMIN) || !ReadCapabilities().Has(CAP_SYS_ADMIN)) {
    throw Failure{Failure::kUnavailable, "the plugin may not write rules",
                  "missing CAP_NET_ADMIN or CAP_SYS_ADMIN"};
  }
  return {};
}

std::string ReadInput() {
  // Far more than any configuration: a pod's annotations are limited to 256 KiB.
  constexpr std::size_t kMost = 8U << 20;
  std::string out;
  const int error = ReadAll(STDIN_FILENO, out, kMost);
  if (error != 0) throw Failure{5, "standard input cannot be read", std::strerror(error)};
  if (out.size() > kMost) {
    throw Failure{Failure::kDecoding, "the network configuration is larger than 8 MiB"};
  }
  return out;
}

}  // namespace

std::string Answer(const Request& request) {
  if (request.command == "VERSION") return VersionText(request.version);
  if (request.command == "ADD") return Add(request);
  if (request.command == "CHECK") return Check(request);
  if (request.command == "DEL") return Delete(request);
  if (request.command == "STATUS") return Status();
  return {};  // GC: nothing is stored outside the pods' namespaces
}

int RunPlugin(const Environment& environment) {
  Request request;
  try {
    try {
      request = ReadRequest(environment, ReadInput());
      WriteOutput(Answer(request));
      return 0;
    } catch (const Error& error) {
      throw Failure{999, "sluice-cni failed", error.what()};
    } catch (const std::exception& error) {
      throw Failure{999, "sluice-cni failed", error.what()};
    }
  } catch (const Failure& failure) {
    const std::string text = ErrorText(failure, request.version);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
    return 1;
  }
}

}  // namespace sluice::cni
