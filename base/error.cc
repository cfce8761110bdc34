// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/error.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice {
namespace {

std::string Sentence(const ErrorText& text) {
  std::string out = "cannot " + text.doing;
  if (!text.target.empty()) out += " (" + text.target + ")";
  out += ": " + text.why;
  if (!text.help.empty()) out += "; " + text.help;
  return out;
}

}  // namespace

Error::Error(ErrorKind kind, ErrorText text)
    : std::runtime_error(Sentence(text)), kind_(kind), text_(std::move(text)) {}

std::string_view Name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
      return "failed";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kPrivilege:
      return "privilege";
    case ErrorKind::kKernelFeature:
      return "kernel-feature";
    case ErrorKind::kLocked:
      return "locked";
    case ErrorKind::kInvalid:
      return "invalid";
  }
  return "failed";
}

Error SystemError(int saved_errno, std::string doing, std::string target, std::string help) {
  const bool privilege = saved_errno == EPERM || saved_errno == EACCES;
  return Error(privilege ? ErrorKind::kPrivilege : ErrorKind::kFailed,
               {.doing = std::move(doing),
                .target = std::move(target),
                .why = std::strerror(saved_errno),
                .help = std::move(help)});
}

}  // namespace sluice
