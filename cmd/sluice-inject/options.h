// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "base/text/program_text.h"
#include "cmd/sluice-inject/certificate.h"
#include "inject/settings.h"
#include "inject/webhook/server.h"

namespace sluice::inject {

enum class Verb { kInject, kUninject, kExplain, kPrintConfig, kServe, kCertificate };
enum class Output { kYaml, kJsonPatch };

// The command line of sluice-inject, validated.
struct Options {
  Verb verb = Verb::kInject;
  std::vector<std::string> files;  // paths; "-" is standard input
  Output output = Output::kYaml;
  bool in_place = false;
  bool diff = false;
  Settings settings;
  webhook::ServerOptions server;   // of serve
  CertificateOptions certificate;  // of certificate
  bool help = false;
  bool version = false;
};

// `arguments` without the program's name. Reads the file that --config names. Throws Error(kUsage)
// naming the flag, the value and what is expected.
Options ParseOptions(const std::vector<std::string>& arguments);

// What --help prints.
std::string HelpText();

// The command line, for --help and shell completion.
ProgramText DescribeProgram();

}  // namespace sluice::inject
