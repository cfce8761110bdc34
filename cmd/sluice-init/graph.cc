// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/graph.h"

#include <poll.h>
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/os/new_file.h"
#include "base/os/signal_fd.h"
#include "base/standard_output.h"
#include "capture/graph/graph.h"
#include "cmd/sluice-init/explain/explain.h"

namespace sluice::init {
namespace {

std::string Picture(const capture::InitConfig& config, const capture::Backend& backend) {
  const auto graph = capture::graph::Draw(config.planned ? PlanModel(config, backend)  //
                                                         : ReadInstalled());
  switch (config.graph.format) {
    case capture::GraphFormat::kMermaid:
      return ToMermaid(graph);
    case capture::GraphFormat::kDot:
      return ToDot(graph);
    case capture::GraphFormat::kSvg:
      return ToSvg(graph);
  }
  return {};
}

// Whoever reads `path` meanwhile gets the whole picture, the old one or the new one.
void Replace(const std::string& path, std::string_view text) {
  struct stat info {};
  // Such as /dev/stdout, which must not become a file.
  if (::lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    throw Error(ErrorKind::kUsage, {.doing = "write the picture",
                                    .target = path,
                                    .why = "it is there, and is no regular file",
                                    .help = "without --file the picture goes to standard output"});
  }
  NewFile file(path);
  file.Write(text);
  // The proxy reads it as another user.
  file.SetMode(0644);
  file.Replace();
}

// Whether a signal came within `time`.
bool Ended(const SignalFd& signals, std::chrono::milliseconds time) {
  pollfd end{.fd = signals.fd(), .events = POLLIN, .revents = 0};
  // The longest time is a day.
  return ::poll(&end, 1, static_cast<int>(time.count())) > 0;
}

}  // namespace

std::string Graph(const capture::InitConfig& config, const capture::Backend& backend) {
  const auto& [format, file, every] = config.graph;
  if (file.empty()) {
    WriteOutput(Picture(config, backend));
    return {};
  }
  std::optional<SignalFd> signals;
  if (every) signals.emplace(std::initializer_list<int>{SIGINT, SIGTERM});
  std::size_t drawn = 0;
  do {
    Replace(file, Picture(config, backend));
    ++drawn;
  } while (every && !Ended(*signals, *every));
  return "written to " + file + (drawn == 1 ? "" : ", " + std::to_string(drawn) + " times");
}

}  // namespace sluice::init
