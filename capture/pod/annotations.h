// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "capture/settings/settings.h"

// What the annotations of a pod say of its capture: for who puts a proxy into it (sluice-inject),
// and who writes the rules on its node (sluice-cni).
namespace sluice::capture {

// "false": the pod is to be left alone. A label of that name counts more, where there are labels.
inline constexpr std::string_view kInjectAnnotation = "sidecar.istio.io/inject";
// NONE: nothing is to be captured.
inline constexpr std::string_view kInterceptionModeAnnotation = "sidecar.istio.io/interceptionMode";
// The port that the proxy is asked on whether it is ready; 0 for none.
inline constexpr std::string_view kStatusPortAnnotation = "status.sidecar.istio.io/port";
inline constexpr unsigned kDefaultStatusPort = 15020;
// What is to be captured, as the injector resolved it from all that it knows: DescribeCapture().
// The rules of a pod that has it are the node's to write.
inline constexpr std::string_view kCaptureAnnotation = "sluice.dev/capture";

// The value of an annotation of the pod; nullptr when it has none.
using Annotations = std::function<const std::string*(std::string_view name)>;

// Whether `name` is a namespace that belongs to the cluster itself.
bool IsSystemNamespace(std::string_view name);

// Whether an annotation of that name says what is captured.
bool IsTrafficAnnotation(std::string_view name);

// The number in kStatusPortAnnotation, or the default. Throws Error(kUsage).
unsigned StatusPort(const Annotations& annotations);

// The settings of a pod: everything is captured, except for what `given` (flags of sluice-init
// without their dashes) and, over it, the annotations say, and for the proxy's own ports. Each goes
// through sluice-init's own table and checks. Throws Error(kUsage) that names the annotation, its
// value and what would be right.
Settings PodSettings(const std::map<std::string, std::string, std::less<>>& given,
                     const Annotations& annotations, unsigned status_port);

// The value of kCaptureAnnotation: what `settings` say of capture, as a configuration file of
// sluice-init does, on one line.
std::string DescribeCapture(const Settings& settings);

// PodSettings() with what kCaptureAnnotation says over all else. Who wrote it may only say what is
// captured: what names files, namespaces or other runs is refused. Throws Error(kUsage).
Settings AnnotatedSettings(const Annotations& annotations);

}  // namespace sluice::capture
