// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/support/accept_failures.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "test/support/command.h"

namespace sluice::testing_support {

AcceptFailures::AcceptFailures() : path_("/tmp/sluice-accept-XXXXXX") {
  file_.reset(::mkostemp(path_.data(), O_CLOEXEC));
  // All zeros is the plan in which nothing fails. Readable by all, because the proxy is not root.
  if (!file_ || ::fchmod(file_.get(), 0666) != 0 ||
      ::ftruncate(file_.get(), sizeof(AcceptFailurePlan)) != 0) {
    throw SystemError(errno, "make a file", path_);
  }
  void* const memory = ::mmap(nullptr, sizeof(AcceptFailurePlan), PROT_READ | PROT_WRITE,
                              MAP_SHARED, file_.get(), 0);
  if (memory == MAP_FAILED) throw SystemError(errno, "map a file", path_);
  plan_ = static_cast<AcceptFailurePlan*>(memory);
}

AcceptFailures::~AcceptFailures() {
  ::munmap(plan_, sizeof(AcceptFailurePlan));
  ::unlink(path_.c_str());
}

std::vector<std::string> AcceptFailures::Environment() const {
  return {"LD_PRELOAD=" + ProgramPath("libsluice_fail_accept.so"),
          std::string(kAcceptFailuresVariable) + "=" + path_,
          // Otherwise AddressSanitizer refuses to start after another library.
          "ASAN_OPTIONS=verify_asan_link_order=0"};
}

}  // namespace sluice::testing_support
