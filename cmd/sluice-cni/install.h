// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

namespace sluice::cni {

struct InstallOptions {
  std::string conf_dir = "/etc/cni/net.d";
  std::string bin_dir = "/opt/cni/bin";
  bool once = false;            // do not stay
  bool remove_on_exit = false;  // take all out again at SIGTERM
};

// Copies the program, adds the plugin to the first configuration (by name, as runtimes choose), and
// keeps both there until SIGTERM or SIGINT. Whoever reads a file sees the old one or the new one.
// Throws Error. The calling thread is the only one.
void Install(const InstallOptions& options);

// Takes the plugin out of all configurations, and removes the program. What is not there is no
// error. Throws Error.
void Uninstall(const InstallOptions& options);

}  // namespace sluice::cni
