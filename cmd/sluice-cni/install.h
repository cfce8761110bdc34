// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

namespace sluice::cni {

struct InstallOptions {
  std::string conf_dir = "/etc/cni/net.d";
  std::string bin_dir = "/opt/cni/bin";
  bool once = false;            // do not stay running
  bool remove_on_exit = false;  // undo everything at SIGTERM
};

// Copies the program, adds the plugin to the first configuration (by name, as runtimes choose), and
// keeps both in place until SIGTERM or SIGINT. Files are replaced atomically. Throws Error. The
// calling thread must be the only one.
void Install(const InstallOptions& options);

// Removes the plugin from all configurations, and then the program. Missing ones are not an error.
// Throws Error.
void Uninstall(const InstallOptions& options);

}  // namespace sluice::cni
