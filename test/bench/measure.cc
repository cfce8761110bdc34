// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// sluice-measure: runs one program in a new network namespace and prints what it cost.
//
//   sluice-measure PROGRAM [ARGUMENT]... <INPUT
//
// The namespace has lo up. The program inherits standard input; its output goes to standard error.
// Prints one line of JSON:
//   {"status": 0, "wall_us": 1234.5, "cpu_us": 987.0, "peak_kib": 3456}
//
// A program of its own, linked statically and without iostreams, because the kernel counts a
// child's peak from fork on (getrusage(2), ru_maxrss is kept across execve): under a large parent
// every small program would seem as large as the parent.

#include <arpa/inet.h>
#include <linux/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::exit(EXIT_FAILURE);
}

double Microseconds(const timespec& from, const timespec& to) {
  return static_cast<double>(to.tv_sec - from.tv_sec) * 1e6 +
         static_cast<double>(to.tv_nsec - from.tv_nsec) / 1e3;
}

double Microseconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
}

// By ioctl (netdevice(7)): libnl would make this program larger than some that it measures.
void SetLoopbackUp() {
  ifreq request = {};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0) Fail("set up lo");
  close(fd);
}

}  // namespace

int main(int, char** argv) {
  char** program = argv + 1;
  if (*program == nullptr) {
    std::fputs("usage: sluice-measure PROGRAM [ARGUMENT]...\n", stderr);
    return 2;
  }
  if (unshare(CLONE_NEWNET) != 0) Fail("make a network namespace");
  SetLoopbackUp();

  timespec started;
  timespec ended;
  clock_gettime(CLOCK_MONOTONIC, &started);
  const pid_t child = fork();
  if (child < 0) Fail("fork");
  if (child == 0) {
    if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0) Fail("dup2");
    execvp(program[0], program);
    std::perror(program[0]);
    _exit(127);
  }
  int status = 0;
  rusage usage = {};
  if (wait4(child, &status, 0, &usage) != child) Fail("wait");
  clock_gettime(CLOCK_MONOTONIC, &ended);
  std::printf("{\"status\": %d, \"wall_us\": %.1f, \"cpu_us\": %.1f, \"peak_kib\": %ld}\n",
              WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
              Microseconds(started, ended),
              Microseconds(usage.ru_utime) + Microseconds(usage.ru_stime), usage.ru_maxrss);
  return EXIT_SUCCESS;
}
