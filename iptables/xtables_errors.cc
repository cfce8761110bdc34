// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/xtables_errors.h"

#include <linux/capability.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/os/capabilities.h"
#include "iptables/layout/xt_entry.h"
#include "iptables/xt_socket.h"
#include "iptables/xtables.h"

namespace sluice::iptables {
namespace {

// "CAP_NET_ADMIN and CAP_NET_RAW", or which of them the calling thread lacks; "" for none.
std::string MissingCapabilities() {
  const Capabilities have = ReadCapabilities();
  std::string missing;
  if (!have.Has(CAP_NET_ADMIN)) missing = "CAP_NET_ADMIN";
  if (!have.Has(CAP_NET_RAW)) missing += missing.empty() ? "CAP_NET_RAW" : " and CAP_NET_RAW";
  return missing;
}

std::string Module(Family family, capture::Table table) {
  return (family == Family::kIpv4 ? "iptable_" : "ip6table_") + std::string(Name(table));
}

Error PermissionError(int saved_errno, std::string doing) {
  const std::string missing = MissingCapabilities();
  if (missing.empty()) {
    return Error(ErrorKind::kPrivilege,
                 {.doing = std::move(doing),
                  .target = {},
                  .why = std::strerror(saved_errno),
                  .help = "the network namespace belongs to another user namespace; run in the one "
                          "that owns it"});
  }
  return Error(ErrorKind::kPrivilege,
               {.doing = std::move(doing),
                .target = {},
                .why = "missing " + missing,
                .help = "grant it: securityContext.capabilities.add: [NET_ADMIN, NET_RAW]"});
}

std::vector<Extension> MissingExtensions(Family family, const capture::TableRules& wanted) {
  const XtSocket socket(XtSocket::AsIptables{}, family);
  std::vector<Extension> missing = ExtensionsOf(wanted);
  std::erase_if(missing, [&socket](const Extension& each) { return !socket.Lacks(each); });
  return missing;
}

}  // namespace

Error InitError(int saved_errno, Family family, capture::Table table) {
  const std::string doing = "read the " + capture::Describe(family, table);
  switch (saved_errno) {
    case EPERM:
    case EACCES:
      return PermissionError(saved_errno, doing);
    case ENOENT:
    case ENOPROTOOPT: {
      const std::string core = family == Family::kIpv4 ? "ip_tables" : "ip6_tables";
      return Error(
          ErrorKind::kKernelFeature,
          {.doing = doing,
           .target = {},
           .why = "the kernel has no legacy x_tables " + std::string(Name(table)) + " table",
           .help = "load the modules on the node: modprobe " + core + " " + Module(family, table)});
    }
    case EAFNOSUPPORT:
    case ESOCKTNOSUPPORT:
    case EPROTONOSUPPORT:
      return Error(ErrorKind::kKernelFeature,
                   {.doing = doing,
                    .target = {},
                    .why = "the kernel has no " + std::string(Name(family)),
                    .help = "pass --ipv6 off to leave it uncaptured"});
    default:
      return SystemError(saved_errno, doing);
  }
}

Error UnknownForm(Family family, std::string_view table) {
  return Error(ErrorKind::kFailed, {.doing = "read the " + std::string(table) + " table",
                                    .target = std::string(Name(family)),
                                    .why = "the kernel has it in a form that is not known",
                                    .help = {}});
}

Error CommitError(int saved_errno, Family family, const capture::TableRules& wanted) {
  const std::string doing = "commit the " + capture::Describe(family, wanted.table);
  if (saved_errno == EPERM || saved_errno == EACCES) return PermissionError(saved_errno, doing);
  if (saved_errno == EAGAIN) {
    return Error(ErrorKind::kFailed,
                 {.doing = doing,
                  .target = {},
                  .why = "another program changed the table each of " +
                         std::to_string(kCommitAttempts) + " times",
                  .help = "find what keeps writing rules in this network namespace"});
  }
  const std::vector<Extension> missing = MissingExtensions(family, wanted);
  if (!missing.empty()) {
    std::string what;
    std::string modules;
    for (const Extension& extension : missing) {
      what += (what.empty() ? "" : ", ") + extension.name;
      what += extension.is_target ? " target" : " match";
      modules += " " + extension.module;
    }
    return Error(ErrorKind::kKernelFeature, {.doing = doing,
                                             .target = {},
                                             .why = "the kernel lacks the " + what,
                                             .help = "load on the node: modprobe" + modules});
  }
  if (saved_errno == EINVAL) {
    return Error(ErrorKind::kFailed,
                 {.doing = doing,
                  .target = {},
                  .why = "the kernel refused a rule (Invalid argument)",
                  .help = "the owner match takes only ids that are mapped in this user namespace, "
                          "which must own the network namespace; see dmesg for other reasons"});
  }
  return SystemError(saved_errno, doing);
}

}  // namespace sluice::iptables
