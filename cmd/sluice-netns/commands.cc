// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "commands.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "base/error.h"
#include "base/parse.h"
#include "base/unique_fd.h"
#include "netns/cable.h"
#include "netns/namespace.h"
#include "netns/route_socket.h"

namespace sluice::netns {
namespace {

constexpr std::size_t kAny = std::numeric_limits<std::size_t>::max();

// Runs `parse` and adds the argument to its error.
template <typename Parse>
auto Parsed(std::string_view what, std::string_view text, Parse parse) {
  try {
    return parse(text);
  } catch (const std::invalid_argument& error) {
    throw Error(ErrorKind::kUsage, {.doing = "read " + std::string(what),
                                    .target = std::string(text),
                                    .why = "not " + std::string(error.what()),
                                    .help = {}});
  }
}

std::pair<std::string, std::string> SplitAt(std::string_view text, char separator) {
  const std::size_t at = text.find(separator);
  if (at == std::string_view::npos) return {std::string(text), {}};
  return {std::string(text.substr(0, at)), std::string(text.substr(at + 1))};
}

IpAddress ParseIp(std::string_view text) {
  return Parsed("an address", text, [](std::string_view ip) { return IpAddress::Parse(ip); });
}

std::vector<InterfaceAddress> ParseAddresses(std::string_view list) {
  return Parsed("a list of addresses", list, [](std::string_view text) {
    std::vector<InterfaceAddress> out;
    for (const std::string_view item : SplitList(text)) {
      out.push_back(InterfaceAddress::Parse(item));
    }
    return out;
  });
}

int CreateOne(Arguments arguments) {
  const Namespace created = Create(arguments[0]);
  try {
    PrepareNamespace(created);
  } catch (const Error&) {
    Delete(arguments[0]);
    throw;
  }
  return EXIT_SUCCESS;
}

int DeleteAll(Arguments arguments) {
  for (const std::string& name : arguments) Delete(name);
  return EXIT_SUCCESS;
}

int ListAll(Arguments) {
  for (const std::string& name : List()) std::cout << name << '\n';
  return EXIT_SUCCESS;
}

int Router(Arguments arguments) {
  MakeRouter(Namespace::Open(arguments[0]));
  return EXIT_SUCCESS;
}

int Cable(Arguments arguments) {
  const auto [one_name, one_device] = SplitAt(arguments[0], ':');
  const auto [other_name, other_device] = SplitAt(arguments[2], ':');
  const Namespace one = Namespace::Open(one_name);
  const Namespace other = Namespace::Open(other_name);
  AddCable({&one, one_device, ParseAddresses(arguments[1])},
           {&other, other_device, ParseAddresses(arguments[3])});
  return EXIT_SUCCESS;
}

int Address(Arguments arguments) {
  RouteSocket routes(Namespace::Open(arguments[0]));
  for (const InterfaceAddress& address : ParseAddresses(arguments[2])) {
    routes.AddAddress(arguments[1], address);
  }
  return EXIT_SUCCESS;
}

// "10.96.0.10 10.244.1.2%pod1 10.244.2.2%pod2"
int RouteVia(Arguments arguments) {
  netns::Route route = {.destination = Parsed("a destination", arguments[1], &Cidr::Parse)};
  for (const std::string& hop : arguments.subspan(2)) {
    const auto [gateway, device] = SplitAt(hop, '%');
    route.next_hops.push_back({.device = device, .gateway = ParseIp(gateway)});
  }
  if (RouteSocket(Namespace::Open(arguments[0])).AddRoute(route) == Change::kDone) {
    return EXIT_SUCCESS;
  }
  throw Error(ErrorKind::kFailed, {.doing = "add a route",
                                   .target = route.ToString(),
                                   .why = "there is one to that destination",
                                   .help = {}});
}

int Show(Arguments arguments) {
  RouteSocket routes(Namespace::Open(arguments[0]));
  for (const Link& link : routes.Links()) std::cout << link << '\n';
  for (const AddressEntry& address : routes.Addresses()) std::cout << address << '\n';
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    for (const netns::Route& route : routes.Routes(family)) std::cout << route << '\n';
  }
  return EXIT_SUCCESS;
}

// Changes to the user id and drops all privileges: no groups and no capabilities remain.
void BecomeUser(std::uint32_t id) {
  if (syscall(SYS_setgroups, 0, nullptr) != 0 || setresgid(id, id, id) != 0 ||
      setresuid(id, id, id) != 0) {
    throw SystemError(errno, "become user", std::to_string(id));
  }
}

// The options of exec, between the namespace and the program.
struct ExecOptions {
  std::uint32_t uid = 0;
  bool die_with_caller = false;
  Arguments program;
};

ExecOptions ParseExec(Arguments words) {
  ExecOptions out;
  while (!words.empty() && words[0].starts_with('-')) {
    if (words[0] == "-k") {
      out.die_with_caller = true;
      words = words.subspan(1);
    } else if (words[0] == "-u" && words.size() > 1) {
      // 4294967295 is (uid_t)-1, "leave it as it is".
      out.uid = Parsed("a user id", words[1], [](std::string_view text) {
        return static_cast<std::uint32_t>(ParseNumber(text, 0, 0xfffffffe));
      });
      words = words.subspan(2);
    } else {
      break;
    }
  }
  if (words.empty() || words[0].starts_with('-')) {
    throw Error(ErrorKind::kUsage, {.doing = "run a program",
                                    .target = words.empty() ? "" : words[0],
                                    .why = "its name is expected, or -u UID, or -k",
                                    .help = {}});
  }
  out.program = words;
  return out;
}

// Finds the program like execvp(3), and opens it; none if not found.
UniqueFd OpenProgram(const std::string& name) {
  const char* const path = std::getenv("PATH");
  if (name.find('/') != std::string::npos || path == nullptr) {
    return UniqueFd(open(name.c_str(), O_PATH | O_CLOEXEC));
  }
  std::istringstream directories(path);
  for (std::string directory; std::getline(directories, directory, ':');) {
    const std::string candidate = directory + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) {
      return UniqueFd(open(candidate.c_str(), O_PATH | O_CLOEXEC));
    }
  }
  return {};
}

int Exec(Arguments arguments) {
  const ExecOptions options = ParseExec(arguments.subspan(1));
  const pid_t caller = getppid();
  // Before changing the user, who may not have access to the directories above it: a build below
  // /root, for example.
  const UniqueFd program = OpenProgram(options.program[0]);
  EnterForGood(Namespace::Open(arguments[0]));
  if (options.uid != 0) BecomeUser(options.uid);
  if (options.die_with_caller) {
    // After changing the user, which clears it. The caller may have ended before.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != caller) return EXIT_FAILURE;
  }
  std::vector<char*> argv;
  for (const std::string& text : options.program) argv.push_back(const_cast<char*>(text.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  if (program && errno == EACCES) {
    syscall(SYS_execveat, program.get(), "", argv.data(), environ, AT_EMPTY_PATH);
  }
  throw SystemError(program ? errno : ENOENT, "run a program", argv[0]);
}

constexpr Subcommand kSubcommands[] = {
    {"create", "NAME", "make a namespace, with lo up", 1, 1, CreateOne},
    {"delete", "NAME...", "delete namespaces", 1, kAny, DeleteAll},
    {"list", "", "print the names of all namespaces", 0, 0, ListAll},
    {"show", "NAME", "print links, addresses and routes", 1, 1, Show},
    {"router", "NAME", "let a namespace forward packets", 1, 1, Router},
    {"cable", "NAME:DEVICE ADDRESS/LENGTH,... NAME:DEVICE ADDRESS/LENGTH,...",
     "join two namespaces by a veth pair", 4, 4, Cable},
    {"address", "NAME DEVICE ADDRESS/LENGTH,...", "add addresses to a device", 3, 3, Address},
    {"route", "NAME DESTINATION GATEWAY[%DEVICE]...", "add a route; several gateways share it", 3,
     kAny, RouteVia},
    {"exec", "NAME [-u UID] [-k] PROGRAM...",
     "run a program there; UID is its group as well;\n"
     "      -k: it is killed when the caller ends",
     2, kAny, Exec},
};

}  // namespace

std::span<const Subcommand> Subcommands() { return kSubcommands; }

}  // namespace sluice::netns
