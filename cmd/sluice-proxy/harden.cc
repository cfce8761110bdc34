// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-proxy/harden.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/error.h"

namespace sluice::proxy {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "name the architecture for seccomp(2)"
#endif

// Not allowed: execve, open_by_handle_at, ptrace, mount, setuid and the like, unlink and rename,
// clone: none of them is needed after start-up.
constexpr long kAllowed[] = {
    // The data path.
    SYS_accept4,
    SYS_bind,
    SYS_close,
    SYS_connect,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_fcntl,
    SYS_getpeername,
    SYS_getsockname,
    SYS_getsockopt,
    SYS_pipe2,
    SYS_read,
    SYS_recvfrom,
    SYS_sendto,
    SYS_setsockopt,
    SYS_shutdown,
    SYS_socket,
    SYS_splice,
    SYS_write,
    // Log and log rotation, the spare descriptor, local addresses, time zone.
    SYS_fstat,
    SYS_lseek,
    SYS_newfstatat,
    SYS_openat,
    SYS_faccessat,   // which credentials are there
    SYS_faccessat2,  // the same, as newer C libraries ask
    // Whether files of mutual TLS change.
    SYS_inotify_add_watch,
    SYS_inotify_init1,
    SYS_inotify_rm_watch,
    SYS_readlinkat,
    SYS_statfs,
    SYS_ppoll,
    SYS_recvmsg,
    SYS_sendmsg,
    // The control path and DNS (Asio).
    SYS_accept,
    SYS_epoll_create1,
    SYS_eventfd2,
    SYS_getdents64,  // counts /proc/self/fd, for the metrics
    SYS_getrandom,
    SYS_ioctl,
    SYS_listen,
    SYS_readv,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_writev,
    // Memory, threads, time, the end.
    SYS_brk,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_exit,
    SYS_exit_group,
    SYS_futex,
    SYS_getpid,
    SYS_gettid,
    SYS_gettimeofday,
    SYS_kill,
    SYS_madvise,
    SYS_mmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_munmap,
    SYS_nanosleep,
    SYS_restart_syscall,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    // With more than eight threads malloc(3) counts CPUs; this is its way if it can read neither
    // /sys nor /proc/stat.
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_tgkill,
    // A new thread's first calls, which may come after the filter.
    SYS_rseq,
    SYS_set_robust_list,
// The calls above are in asm-generic/unistd.h, which is all that aarch64 has (checked with
// aarch64-linux-gnu-g++ -fsyntax-only); instead of these, glibc uses newer calls there.
#if defined(__x86_64__)
    SYS_epoll_wait,
    SYS_open,
    SYS_poll,
    SYS_stat,
    SYS_time,
#endif
};

sock_filter Load(std::size_t offset) {
  return {
      .code = BPF_LD | BPF_W | BPF_ABS, .jt = 0, .jf = 0, .k = static_cast<std::uint32_t>(offset)};
}

// Continues with the next instruction if the value is `k`, otherwise skips it.
sock_filter SkipNextUnless(std::uint32_t k) {
  return {.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 0, .jf = 1, .k = k};
}

sock_filter SkipNextIf(std::uint32_t k) {
  return {.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 1, .jf = 0, .k = k};
}

sock_filter Return(std::uint32_t action) {
  return {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = action};
}

std::vector<sock_filter> Program() {
  std::vector<sock_filter> out = {
      Load(offsetof(seccomp_data, arch)),
      SkipNextIf(kArchitecture),
      Return(SECCOMP_RET_KILL_PROCESS),
      Load(offsetof(seccomp_data, nr)),
  };
  for (const long number : kAllowed) {
    out.push_back(SkipNextUnless(static_cast<std::uint32_t>(number)));
    out.push_back(Return(SECCOMP_RET_ALLOW));
  }
  out.push_back(Return(SECCOMP_RET_KILL_PROCESS));
  return out;
}

}  // namespace

void Harden() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw SystemError(errno, "set no_new_privs");
  std::vector<sock_filter> program = Program();
  const sock_fprog filter{.len = static_cast<unsigned short>(program.size()),
                          .filter = program.data()};
  // TSYNC: also for the threads that already run.
  const long refused =
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
  if (refused == 0) return;
  if (refused < 0 && (errno == ENOSYS || errno == EINVAL)) {
    throw Error(ErrorKind::kKernelFeature,
                {.doing = "filter system calls",
                 .target = {},
                 .why = "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)",
                 .help = "--seccomp=off runs without"});
  }
  throw SystemError(refused < 0 ? errno : ESRCH, "filter system calls", "all threads",
                    "--seccomp=off runs without");
}

void NoCoreDumps() {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) throw SystemError(errno, "forbid core dumps");
}

}  // namespace sluice::proxy
