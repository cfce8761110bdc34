// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-cni/options.h"

#include <string_view>

#include "base/error.h"
#include "base/text/suggest.h"

namespace sluice::cni {
namespace {

[[noreturn]] void Refuse(std::string why, std::string help = "see --help") {
  throw Error(ErrorKind::kUsage, {.doing = "understand the command line",
                                  .target = {},
                                  .why = std::move(why),
                                  .help = std::move(help)});
}

// The value of --NAME VALUE or --NAME=VALUE at `i`; advances `i` to its last word.
bool TakeText(const std::vector<std::string>& words, std::size_t& i, std::string_view name,
              std::string& value) {
  const std::string flag = "--" + std::string(name);
  if (words[i].starts_with(flag + "=")) {
    value = words[i].substr(flag.size() + 1);
  } else if (words[i] == flag) {
    if (i + 1 == words.size()) Refuse(flag + " needs a value");
    value = words[++i];
  } else {
    return false;
  }
  if (value.empty()) Refuse(flag + " is empty", "name a directory");
  return true;
}

}  // namespace

Options ParseOptions(const std::vector<std::string>& arguments) {
  Options out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--help" || word == "-h") {
      out.verb = Verb::kHelp;
      return out;
    }
    if (word == "--version") {
      out.verb = Verb::kVersion;
      return out;
    }
    if (TakeText(arguments, i, "conf-dir", out.install.conf_dir)) continue;
    if (TakeText(arguments, i, "bin-dir", out.install.bin_dir)) continue;
    if (word == "--once") {
      out.install.once = true;
    } else if (word == "--remove-on-exit") {
      out.install.remove_on_exit = true;
    } else if (word.starts_with("-")) {
      Refuse("there is no flag " + word,
             SuggestFlag(word, {"conf-dir", "bin-dir", "once", "remove-on-exit", "help", "version"},
                         "see --help"));
    } else if (out.verb != Verb::kPlugin || (word != "install" && word != "uninstall")) {
      Refuse("\"" + word + "\" is not understood",
             SuggestWord(word, {"install", "uninstall"}, "verbs are install and uninstall"));
    } else {
      out.verb = word == "install" ? Verb::kInstall : Verb::kUninstall;
    }
  }
  if (out.verb == Verb::kPlugin && !arguments.empty()) {
    Refuse("flags are for install and uninstall", "see --help");
  }
  if (out.install.once && out.install.remove_on_exit) {
    Refuse("--once and --remove-on-exit exclude each other");
  }
  if (out.verb == Verb::kUninstall && (out.install.once || out.install.remove_on_exit)) {
    Refuse("--once and --remove-on-exit are for install");
  }
  return out;
}

ProgramText DescribeProgram() {
  return {.name = "sluice-cni",
          .aliases = {},
          .commands = {{"install", "add the plugin to a node, and keep it there"},
                       {"uninstall", "take it out again"}},
          .groups = {
              {"Where",
               {{"conf-dir", 0, "DIRECTORY", "network configurations of the node (/etc/cni/net.d)"},
                {"bin-dir", 0, "DIRECTORY", "plugins of the node (/opt/cni/bin)"}}},
              {"Of install",
               {{"once", 0, "", "end when it is done; without it, stay until SIGTERM"},
                {"remove-on-exit", 0, "", "take all out again at SIGTERM"}}},
              {"Information",
               {{"help", 'h', "", "print this"}, {"version", 0, "", "print the version"}}}}};
}

std::string HelpText() {
  return "usage: sluice-cni                  of a container runtime\n"
         "       sluice-cni install [FLAG]...\n"
         "       sluice-cni uninstall [FLAG]...\n"
         "       sluice-cni completion SHELL  for bash, zsh or fish\n"
         "\n"
         "A chained CNI plugin (0.3.1 to 1.1.0): captures the traffic of pods that have\n"
         "the annotation sluice.dev/capture, which `sluice-inject --cni` writes, and\n"
         "leaves all others alone. Its variables and its input are those of the CNI\n"
         "specification. It asks no API server.\n"
         "\n" +
         OptionHelp(DescribeProgram()) +
         "\nExamples:\n"
         "  sluice-cni install --once\n"
         "  sluice-cni install --conf-dir /host/etc/cni/net.d --bin-dir /host/opt/cni/bin\n"
         "\nExit codes: 0 done; 1 it failed, and for a runtime the error is on standard\n"
         "output; 2 usage; 3 a privilege is missing.\n";
}

}  // namespace sluice::cni
