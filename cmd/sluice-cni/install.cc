// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-cni/install.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/os/new_file.h"
#include "base/os/read_all.h"
#include "base/os/signal_fd.h"
#include "base/unique_fd.h"
#include "cmd/sluice-cni/conflist.h"
#include "cmd/sluice-cni/say.h"

namespace sluice::cni {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProgram = "sluice-cni";
// The suffix of a single plugin's file that a list has replaced. Runtimes do not read it.
constexpr const char* kSaved = ".sluice-saved";

// Nothing if it cannot be read: it may disappear at any time.
std::optional<std::string> TextOf(const std::string& path) {
  std::string out;
  if (ReadFile(path, out) != 0) return {};
  return out;
}

// Atomic, by a rename. Keeps the mode and the owner of `like`, if that exists.
void Replace(const std::string& path, std::string_view text, const std::string& like, mode_t mode) {
  NewFile file(path);
  file.Write(text);
  struct stat status {};
  if (::stat(like.c_str(), &status) == 0) {
    mode = status.st_mode & 07777;
    file.SetOwner(status.st_uid, status.st_gid);
  }
  file.SetMode(mode);
  file.Sync();
  file.Replace();
}

bool IsList(const std::string& path) { return path.ends_with(".conflist"); }

// The files that runtimes read, in their order.
std::vector<std::string> ConfigurationsIn(const std::string& directory) {
  std::vector<std::string> out;
  std::error_code code;
  for (fs::directory_iterator each(directory, code), end; !code && each != end;
       each.increment(code)) {
    const std::string ending = each->path().extension().string();
    if (ending == ".conf" || ending == ".conflist" || ending == ".json") {
      out.push_back(each->path().string());
    }
  }
  std::ranges::sort(out);
  return out;
}

// Detects changes of a file without reading it.
struct Look {
  ino_t inode = 0;
  off_t size = -1;
  timespec changed{};

  bool IsStill(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return false;
    const bool same = inode == status.st_ino && size == status.st_size &&
                      changed.tv_sec == status.st_ctim.tv_sec &&
                      changed.tv_nsec == status.st_ctim.tv_nsec;
    *this = {.inode = status.st_ino, .size = status.st_size, .changed = status.st_ctim};
    return same;
  }
};

void EnsureProgram(const InstallOptions& options, Look& last) {
  const std::string path = options.bin_dir + "/" + kProgram;
  if (last.IsStill(path)) return;
  const auto own = TextOf("/proc/self/exe");
  if (!own) throw SystemError(errno, "read the program", "/proc/self/exe");
  if (TextOf(path) == own && ::access(path.c_str(), X_OK) == 0) return;
  Replace(path, *own, "", 0755);
  Say("installed " + path);
  last.IsStill(path);
}

// Returns whether there is a configuration.
bool EnsureConfiguration(const InstallOptions& options) {
  for (const std::string& path : ConfigurationsIn(options.conf_dir)) {
    const auto text = TextOf(path);
    // Half-written, or not a configuration.
    if (!text || !IsConfiguration(*text, IsList(path))) continue;
    const auto changed = WithPlugin(*text);
    if (!changed) return true;
    if (IsList(path)) {
      Replace(path, *changed, path, 0644);
    } else {
      const std::string list = fs::path(path).replace_extension(".conflist").string();
      Replace(list, *changed, path, 0644);
      if (::rename(path.c_str(), (path + kSaved).c_str()) != 0) {
        throw SystemError(errno, "set aside", path);
      }
    }
    Say("added to " + path);
    return true;
  }
  return false;
}

// As long as the runtime's own wait for a configuration.
constexpr int kLookAgainMs = 5000;

void Watch(const UniqueFd& inotify, const InstallOptions& options) {
  constexpr std::uint32_t kEvents =
      IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_ONLYDIR;
  // Each time, because a directory may have been replaced; the same one keeps its watch.
  for (const std::string& directory : {options.conf_dir, options.bin_dir}) {
    ::inotify_add_watch(inotify.get(), directory.c_str(), kEvents);
  }
}

void Stay(const InstallOptions& options, const SignalFd& signals) {
  const UniqueFd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify) throw SystemError(errno, "watch", options.conf_dir);
  bool waiting = false;
  Look program;
  for (;;) {
    // Watch before checking, so that no change is missed in between.
    Watch(inotify, options);
    try {
      EnsureProgram(options, program);
      const bool found = EnsureConfiguration(options);
      if (!found && !waiting) Say("there is no configuration in " + options.conf_dir + " yet");
      waiting = !found;
    } catch (const Error& error) {
      // Others write there as well: the next try may succeed.
      Say(error.what());
    }
    std::array<pollfd, 2> watched = {{{signals.fd(), POLLIN, 0}, {inotify.get(), POLLIN, 0}}};
    ::poll(watched.data(), watched.size(), kLookAgainMs);
    if (watched[0].revents != 0) return;
    std::array<char, 4096> events;
    while (::read(inotify.get(), events.data(), events.size()) > 0) {
    }
  }
}

}  // namespace

void Install(const InstallOptions& options) {
  if (options.once) {
    Look program;
    EnsureProgram(options, program);
    if (EnsureConfiguration(options)) return;
    throw Error(ErrorKind::kFailed, {.doing = "add the plugin",
                                     .target = options.conf_dir,
                                     .why = "there is no network configuration",
                                     .help = "install another plugin first, or leave out --once"});
  }
  Stay(options, SignalFd{SIGTERM, SIGINT});
  if (options.remove_on_exit) Uninstall(options);
}

void Uninstall(const InstallOptions& options) {
  // Configurations first: one that names a missing program stops all pods.
  for (const std::string& path : ConfigurationsIn(options.conf_dir)) {
    const auto text = IsList(path) ? TextOf(path) : std::nullopt;
    const auto changed = text ? WithoutPlugin(*text) : std::nullopt;
    if (!changed) continue;
    bool restored = false;
    for (const char* const ending : {".conf", ".json"}) {
      const std::string single = fs::path(path).replace_extension(ending).string();
      if (restored || ::access((single + kSaved).c_str(), F_OK) != 0) continue;
      if (::rename((single + kSaved).c_str(), single.c_str()) != 0 || ::unlink(path.c_str()) != 0) {
        throw SystemError(errno, "put back", single);
      }
      restored = true;
    }
    if (!restored) Replace(path, *changed, path, 0644);
    Say("taken out of " + path);
  }
  const std::string program = options.bin_dir + "/" + kProgram;
  if (::unlink(program.c_str()) == 0) {
    Say("removed " + program);
  } else if (errno != ENOENT && errno != ENOTDIR) {
    throw SystemError(errno, "remove", program);
  }
}

}  // namespace sluice::cni
