// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/support/command.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "base/error.h"

namespace sluice::testing_support {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A file in memory: unlike a pipe it never fills up, so it need not be read meanwhile.
UniqueFd MemoryFile(const char* name) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC));
  // Append: a program that gets the file twice must not overwrite its own output.
  if (!fd || fcntl(fd.get(), F_SETFL, O_APPEND) != 0) throw SystemError(errno, "make a file", name);
  return fd;
}

std::string Contents(int fd) {
  std::string out;
  char part[65536];
  for (ssize_t got = 0;
       (got = pread(fd, part, sizeof(part), static_cast<off_t>(out.size()))) > 0;) {
    out.append(part, static_cast<std::size_t>(got));
  }
  return out;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// Everything that the child needs after fork, prepared in advance: in a process with several
// threads the child must not allocate (fork(2)).
struct ChildPlan {
  std::vector<std::string> argv_texts;
  std::vector<std::string> environment_texts;
  std::vector<char*> argv;
  std::vector<char*> environment;
  int name_space = -1;
  int in = -1;
  int out = -1;
  int err = -1;
  int cgroup = -1;
  pid_t parent = -1;
  const Command* command = nullptr;
};

[[noreturn]] void Give(const char* what) {
  dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
  _exit(127);
}

bool SetCapabilities(const std::vector<int>& wanted, bool ambient) {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  for (const int capability : wanted) {
    auto& set = sets[CAP_TO_INDEX(capability)];
    set.effective |= CAP_TO_MASK(capability);
    set.permitted = set.effective;
    if (ambient) set.inheritable = set.effective;
  }
  if (syscall(SYS_capset, &header, sets) != 0) return false;
  if (!ambient) return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
  for (const int capability : wanted) {
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) return false;
  }
  return true;
}

// Only async-signal-safe calls from here on.
[[noreturn]] void BecomeProgram(const ChildPlan& plan) {
  const Command& command = *plan.command;
  if (setpgid(0, 0) != 0) Give("setpgid");
  if (dup2(plan.in, STDIN_FILENO) < 0 || dup2(plan.out, STDOUT_FILENO) < 0 ||
      dup2(plan.err, STDERR_FILENO) < 0) {
    Give("dup2");
  }
  if (command.open_files) {
    const rlimit limit = {.rlim_cur = *command.open_files, .rlim_max = *command.open_files};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) Give("setrlimit");
  }
  // 0 means the writing process.
  if (plan.cgroup >= 0 && write(plan.cgroup, "0", 1) != 1) Give("enter the cgroup");
  if (setns(plan.name_space, CLONE_NEWNET) != 0) Give("setns");
  if (command.capabilities) {
    // An exec by root gains the whole bounding set.
    for (int each = 0; prctl(PR_CAPBSET_READ, each) >= 0; ++each) {
      if (std::ranges::find(*command.capabilities, each) == command.capabilities->end() &&
          prctl(PR_CAPBSET_DROP, each) != 0) {
        Give("drop a capability");
      }
    }
    if (prctl(PR_SET_KEEPCAPS, 1) != 0) Give("keep capabilities");
  }
  const Credentials& who = command.who;
  if (syscall(SYS_setgroups, who.groups.size(), who.groups.data()) != 0) Give("setgroups");
  if (syscall(SYS_setresgid, who.gid, who.gid, who.gid) != 0) Give("setresgid");
  if (syscall(SYS_setresuid, who.uid, who.uid, who.uid) != 0) Give("setresuid");
  if (command.capabilities && !SetCapabilities(*command.capabilities, !command.only_by_its_file)) {
    Give("set capabilities");
  }
  // After changing the user, which would clear it.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != plan.parent) _exit(127);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execvpe(plan.argv[0], plan.argv.data(), plan.environment.data());
  Give(plan.argv[0]);
}

microseconds ToMicroseconds(const timeval& time) {
  return std::chrono::seconds(time.tv_sec) + microseconds(time.tv_usec);
}

bool HasEnded(int pidfd, milliseconds limit) {
  pollfd waiting = {.fd = pidfd, .events = POLLIN, .revents = 0};
  const auto deadline = steady_clock::now() + limit;
  for (;;) {
    const auto left = duration_cast<milliseconds>(deadline - steady_clock::now());
    const int ready = poll(&waiting, 1, static_cast<int>(std::max(left, milliseconds(0)).count()));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

}  // namespace

Process::Process(const netns::Namespace& where, const Command& command)
    : out_(MemoryFile("stdout")), err_(MemoryFile("stderr")) {
  const UniqueFd in = MemoryFile("stdin");
  if (write(in.get(), command.input.data(), command.input.size()) !=
          static_cast<ssize_t>(command.input.size()) ||
      lseek(in.get(), 0, SEEK_SET) != 0) {
    throw SystemError(errno, "write the input of a program");
  }
  ChildPlan plan;
  plan.argv_texts = command.argv;
  plan.environment_texts = command.environment;
  if (const char* const path = std::getenv("PATH"); path != nullptr) {
    plan.environment_texts.push_back("PATH=" + std::string(path));
  }
  plan.argv = Pointers(plan.argv_texts);
  plan.environment = Pointers(plan.environment_texts);
  plan.name_space = where.fd();
  plan.in = in.get();
  plan.out = out_.get();
  plan.err = err_.get();
  UniqueFd cgroup;
  if (!command.cgroup_procs.empty()) {
    cgroup.reset(open(command.cgroup_procs.c_str(), O_WRONLY | O_CLOEXEC));
    if (!cgroup) throw SystemError(errno, "open", command.cgroup_procs);
    plan.cgroup = cgroup.get();
  }
  plan.parent = getpid();
  plan.command = &command;
  int started_pipe[2];
  if (pipe2(started_pipe, O_CLOEXEC) != 0) throw SystemError(errno, "make a pipe");
  const UniqueFd has_started(started_pipe[0]);
  UniqueFd starting(started_pipe[1]);

  started_ = steady_clock::now();
  pid_ = fork();
  if (pid_ == 0) BecomeProgram(plan);
  if (pid_ < 0) throw SystemError(errno, "start a program", command.argv.front());
  setpgid(pid_, pid_);  // parent and child both do it, whichever is first
  // The child's end is closed when it executes the program or ends. Before that it is not in its
  // namespace yet, and who enters "the namespace of this pid" would enter ours.
  starting.reset();
  for (char none; read(has_started.get(), &none, 1) < 0 && errno == EINTR;) {
  }
  pidfd_.reset(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  if (!pidfd_) throw SystemError(errno, "watch a program", command.argv.front());
}

Process::Process(Process&& other) noexcept
    : out_(std::move(other.out_)),
      err_(std::move(other.err_)),
      pidfd_(std::move(other.pidfd_)),
      pid_(std::exchange(other.pid_, -1)),
      started_(other.started_) {}

Process::~Process() {
  if (pid_ > 0) static_cast<void>(Wait(milliseconds(0)));
}

bool Process::Running() const { return pid_ > 0 && !HasEnded(pidfd_.get(), milliseconds(0)); }

void Process::Signal(int signal) const {
  if (pid_ > 0) kill(pid_, signal);
}

std::string Process::Out() const { return Contents(out_.get()); }

std::string Process::Err() const { return Contents(err_.get()); }

bool Process::WaitForText(std::string_view text, milliseconds limit) const {
  const auto deadline = steady_clock::now() + limit;
  for (;;) {
    const bool last_look = steady_clock::now() >= deadline || !Running();
    if (Out().find(text) != std::string::npos || Err().find(text) != std::string::npos) return true;
    if (last_look) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
}

CommandResult Process::Wait(milliseconds limit) {
  // For kill(2), -1 and 1 have special meanings.
  if (pid_ <= 0) throw std::logic_error("the end of this process was waited for already");
  CommandResult result;
  result.timed_out = !HasEnded(pidfd_.get(), limit);
  // Kill the group, including what the program started and left behind. The group's number is not
  // reused before its leader is waited for.
  kill(-pid_, SIGKILL);
  int status = 0;
  rusage usage = {};
  while (wait4(pid_, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  result.wall = duration_cast<microseconds>(steady_clock::now() - started_);
  pid_ = -1;
  result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.cpu = ToMicroseconds(usage.ru_utime) + ToMicroseconds(usage.ru_stime);
  result.out = Out();
  result.err = Err();
  return result;
}

CommandResult RunCommand(const netns::Namespace& where, const Command& command) {
  return Process(where, command).Wait(command.timeout);
}

Command WithMounts(Command command, const std::string& mounts) {
  if (command.capabilities) throw std::logic_error("mounting needs more capabilities than chosen");
  std::vector<std::string> argv = {"unshare", "-m", "sh", "-ec", mounts + "\nexec \"$@\"", "sh"};
  if (command.who.uid != 0) {
    // The change of user clears PR_SET_PDEATHSIG.
    argv.insert(argv.end(), {"/usr/bin/setpriv", "--reuid=" + std::to_string(command.who.uid),
                             "--regid=" + std::to_string(command.who.gid), "--clear-groups",
                             "--pdeathsig=KILL"});
    command.who = kRoot;
  }
  argv.insert(argv.end(), command.argv.begin(), command.argv.end());
  command.argv = std::move(argv);
  return command;
}

Command WithResolvConf(Command command, const std::string& file) {
  return WithMounts(std::move(command), "mount --bind '" + file + "' /etc/resolv.conf");
}

std::string ProgramPath(std::string_view name) {
  const char* const directory = std::getenv("SLUICE_BIN_DIR");
  return std::string(directory != nullptr ? directory : SLUICE_BIN_DIR) + "/" + std::string(name);
}

Command WithSanitizer(Command command) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // The sanitizers make system calls that the proxy does not, such as ptrace(2) for the leak check.
  command.environment.push_back("SLUICE_PROXY_SECCOMP=off");
#endif
  return command;
}

Command WithPreload(Command command, std::string_view library) {
  // The programs that are installed load nothing.
  if (command.argv[0].starts_with(ProgramPath(""))) command.argv[0] += "-shared";
  command.environment.push_back("LD_PRELOAD=" + ProgramPath(library));
  // Otherwise AddressSanitizer refuses to start after another library.
  command.environment.push_back("ASAN_OPTIONS=verify_asan_link_order=0");
  return command;
}

std::string SavedRules(const netns::Namespace& where, Family family) {
  const std::string program =
      family == Family::kIpv4 ? "iptables-legacy-save" : "ip6tables-legacy-save";
  const CommandResult saved = RunCommand(where, {.argv = {program}});
  if (saved.exit_status != 0) {
    throw Error(ErrorKind::kFailed,
                {.doing = "run " + program, .target = {}, .why = saved.err, .help = {}});
  }
  std::istringstream lines(saved.out);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    // ":OUTPUT ACCEPT [12:3456]"
    if (line.starts_with(':')) line.resize(line.find(" ["));
    out += line + "\n";
  }
  return out;
}

}  // namespace sluice::testing_support
