// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "capture/settings/settings.h"

// What a pod's annotations say about its capture: for the injector of the proxy (sluice-inject) and
// for the writer of rules on the node (sluice-cni).
namespace sluice::capture {

// "false": leave the pod alone. A label of that name takes precedence, where labels are known.
inline constexpr std::string_view kInjectAnnotation = "sidecar.istio.io/inject";
// NONE: capture nothing.
inline constexpr std::string_view kInterceptionModeAnnotation = "sidecar.istio.io/interceptionMode";
// The port of the proxy's readiness probe; 0 for none.
inline constexpr std::string_view kStatusPortAnnotation = "status.sidecar.istio.io/port";
inline constexpr unsigned kDefaultStatusPort = 15020;
// What to capture, as the injector resolved it from everything it knows: DescribeCapture(). The
// node writes the rules of a pod that has it.
inline constexpr std::string_view kCaptureAnnotation = "sluice.dev/capture";

// The value of an annotation of the pod; nullptr when it has none.
using Annotations = std::function<const std::string*(std::string_view name)>;

// Whether `name` is a system namespace of the cluster.
bool IsSystemNamespace(std::string_view name);

// Whether the annotation `name` affects what is captured.
bool IsTrafficAnnotation(std::string_view name);

// The number in kStatusPortAnnotation, or the default. Throws Error(kUsage).
unsigned StatusPort(const Annotations& annotations);

// A pod's settings: everything is captured, except the proxy's own ports, as changed by `given`
// (flags of sluice-init without dashes), and by the annotations, which override them. Each goes
// through sluice-init's own table and checks. Throws Error(kUsage) that names the annotation, its
// value and what is expected.
Settings PodSettings(const std::map<std::string, std::string, std::less<>>& given,
                     const Annotations& annotations, unsigned status_port);

// The value of kCaptureAnnotation: the capture part of `settings`, as a sluice-init configuration
// file on one line.
std::string DescribeCapture(const Settings& settings);

// PodSettings(), overridden by kCaptureAnnotation. The annotation may only say what is captured:
// settings that name files, namespaces or other runs are refused. Throws Error(kUsage).
Settings AnnotatedSettings(const Annotations& annotations);

}  // namespace sluice::capture
