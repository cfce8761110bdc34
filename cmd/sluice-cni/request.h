// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "capture/pod/annotations.h"

namespace sluice::cni {

// What a plugin reports (CNI specification, "Error"): thrown, and printed by Run().
struct Failure {
  // Of the specification; from 100 on they are ours.
  enum Code : int {
    kIncompatibleVersion = 1,
    kEnvironment = 4,
    kDecoding = 6,
    kConfiguration = 7,
    kTryAgain = 11,
    kUnavailable = 50,
    kAnnotations = 100,  // those of the pod are wrong
    kRules = 101,        // the rules could not be written; all is as it was
    kDrift = 102,        // of CHECK: they are not those that the pod asks for
  };
  int code;
  std::string message;
  std::string details = {};
};

// Versions of the specification, oldest first.
const std::vector<std::string>& Versions();
// Whether `version`, one of those, is as new as `other`.
bool IsAtLeast(std::string_view version, std::string_view other);

// What a runtime asks: variables of the environment and JSON on standard input.
struct Request {
  std::string command;  // ADD, DEL, CHECK, GC, STATUS or VERSION
  std::string version;  // of the configuration, one of Versions()
  std::string network_namespace;
  std::string pod_namespace;  // of Kubernetes, as CNI_ARGS says
  std::string previous;       // the text of prevResult; empty for none
  std::map<std::string, std::string, std::less<>> annotations;
  std::vector<std::string> resolvers;           // the pod's, when the runtime says
  std::vector<std::string> exclude_namespaces;  // beside those of the cluster
  std::string backend = "auto";

  capture::Annotations Annotations() const;
};

using Environment = std::function<const char*(const char*)>;

// Throws Failure.
Request ReadRequest(const Environment& environment, std::string_view input);

// Whether the rules of the pod are ours to write.
bool IsOurs(const Request& request);

// The result of ADD: `previous` by the byte, when it is of `version`; else what is in it, as that
// version has it. Throws Failure.
std::string PassOn(const std::string& previous, const std::string& version);

// The object that goes to standard output. `version` is that of the request, or empty.
std::string ErrorText(const Failure& failure, const std::string& version);
std::string VersionText(const std::string& version);

}  // namespace sluice::cni
