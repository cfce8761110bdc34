// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/containers.h"

#include <algorithm>
#include <string_view>

#include <boost/json/array.hpp>

namespace sluice::inject {
namespace {

namespace json = boost::json;

json::array Strings(const std::vector<std::string>& strings) {
  json::array out;
  for (const std::string& each : strings) out.emplace_back(each);
  return out;
}

// Meets PodSecurity's "restricted" profile, except for the user and the capabilities.
json::object SecurityContext(int uid, int gid, const std::vector<std::string>& capabilities) {
  json::object kept{{"drop", json::array{"ALL"}}};
  if (!capabilities.empty()) kept["add"] = Strings(capabilities);
  return {{"runAsUser", uid},
          {"runAsGroup", gid},
          {"runAsNonRoot", uid != 0},
          {"readOnlyRootFilesystem", true},
          {"allowPrivilegeEscalation", false},
          {"privileged", false},
          {"capabilities", std::move(kept)},
          {"seccompProfile", json::object{{"type", "RuntimeDefault"}}}};
}

void AddImage(json::object& container, const Settings& settings) {
  container["image"] = settings.image;
  if (!settings.image_pull_policy.empty()) {
    container["imagePullPolicy"] = settings.image_pull_policy;
  }
}

json::object Probe(unsigned port) {
  return {{"httpGet", json::object{{"path", "/healthz/ready"}, {"port", port}}}};
}

// Adds a flag, unless the user gives it.
void AddFlag(std::vector<std::string>& args, const Settings& settings, const std::string& name,
             const std::string& value) {
  const std::string flag = "--" + name;
  const bool given = std::ranges::any_of(settings.proxy_args, [&](const std::string& each) {
    return each == flag || each.starts_with(flag + "=");
  });
  if (!given) args.push_back(flag + "=" + value);
}

std::vector<std::string> ProxyArguments(const ContainerPlan& plan) {
  std::vector<std::string> args = {"sluice-proxy"};
  const auto add = [&](const std::string& name, const std::string& value) {
    AddFlag(args, plan.settings, name, value);
  };
  if (!plan.concurrency.empty()) add("concurrency", plan.concurrency);
  add("drain-duration", std::to_string(plan.drain_seconds) + "s");
  if (plan.outbound_port != "15001") add("outbound-port", plan.outbound_port);
  if (plan.inbound_port != "15006") add("inbound-port", plan.inbound_port);
  if (plan.status_port != 15020) add("status-port", std::to_string(plan.status_port));
  if (plan.redirect_dns) add("dns-port", "15053");
  if (plan.tproxy) {
    add("mode", "TPROXY");
    add("allow-root", "true");
  }
  for (const auto& [name, value] : plan.mtls.flags) add(name, value);
  args.insert(args.end(), plan.settings.proxy_args.begin(), plan.settings.proxy_args.end());
  return args;
}

}  // namespace

json::object InitContainer(const ContainerPlan& plan) {
  const bool cni = plan.settings.cni;
  json::object container{{"name", cni ? kVerifyName : kInitName}};
  AddImage(container, plan.settings);
  std::vector<std::string> args = {"sluice-init"};
  args.insert(args.end(), plan.init_flags.begin(), plan.init_flags.end());
  if (cni) {
    args.emplace_back("--run-validation");
    args.emplace_back("--skip-rule-apply");
  }
  container["args"] = Strings(args);
  // As much as a run needs, with a margin: it takes milliseconds.
  container["resources"] =
      json::object{{"requests", json::object{{"cpu", "10m"}, {"memory", "10Mi"}}},
                   {"limits", json::object{{"memory", "32Mi"}}}};
  if (cni) {
    container["securityContext"] = SecurityContext(1337, 1337, {});
  } else if (plan.nftables) {
    // For ordinary users, Kubernetes keeps a capability only if the program's file has it, as in
    // our image (deploy/image/Dockerfile).
    container["securityContext"] = SecurityContext(1337, 1337, {"NET_ADMIN"});
  } else {
    // What x_tables needs, as for iptables itself: root, to read which tables there are.
    container["securityContext"] = SecurityContext(0, 0, {"NET_ADMIN", "NET_RAW"});
  }
  return container;
}

json::object ProxyContainer(const ContainerPlan& plan) {
  const Settings& settings = plan.settings;
  json::object container{{"name", kProxyName}};
  AddImage(container, settings);
  if (settings.native_sidecar) container["restartPolicy"] = "Always";
  container["args"] = Strings(ProxyArguments(plan));
  // With "sluice-" in the name, because a Service finds a pod's port by its name.
  json::array ports{json::object{{"name", "sluice-metrics"}, {"containerPort", 15090}}};
  if (plan.status_port != 0) {
    ports.push_back(json::object{{"name", "sluice-status"}, {"containerPort", plan.status_port}});
  }
  container["ports"] = std::move(ports);
  if (plan.status_port != 0) {
    // Containers after a native sidecar start when this has succeeded.
    json::object startup = Probe(plan.status_port);
    startup["periodSeconds"] = 1;
    startup["failureThreshold"] = 600;
    container["startupProbe"] = std::move(startup);
    // No liveness probe: a draining proxy answers 503, and would be killed with its connections.
    json::object readiness = Probe(plan.status_port);
    readiness["periodSeconds"] = 5;
    container["readinessProbe"] = std::move(readiness);
  }
  json::object resources{
      {"requests", json::object{{"cpu", settings.proxy_cpu}, {"memory", settings.proxy_memory}}}};
  json::object limits;
  if (!settings.proxy_cpu_limit.empty()) limits["cpu"] = settings.proxy_cpu_limit;
  if (!settings.proxy_memory_limit.empty()) limits["memory"] = settings.proxy_memory_limit;
  if (!limits.empty()) resources["limits"] = std::move(limits);
  container["resources"] = std::move(resources);
  // TPROXY needs NET_ADMIN, which a container gives only to root. The rules know its group.
  container["securityContext"] =
      plan.tproxy ? SecurityContext(0, 1337, {"NET_ADMIN"}) : SecurityContext(1337, 1337, {});
  if (!plan.mtls.mounts.empty()) container["volumeMounts"] = plan.mtls.mounts;
  return container;
}

}  // namespace sluice::inject
