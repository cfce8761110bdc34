// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/credential_files.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sluice::tls {
namespace {

// A bundle of 200 roots is 300 KiB; Kubernetes allows a Secret 1 MiB.
constexpr off_t kMaxFileBytes = off_t{1024} * 1024;

// The content of an open file, into `out`, whose bytes are never moved: they may be a key. Throws
// sluice::Error, with `path` in its text.
void ReadInto(int fd, const std::string& doing, const std::string& path, std::string& out) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw SystemError(errno, doing, path);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::kFailed,
                {.doing = doing, .target = path, .why = "it is not a regular file", .help = {}});
  }
  if (status.st_size > kMaxFileBytes) {
    throw Error(ErrorKind::kFailed,
                {.doing = doing, .target = path, .why = "it is larger than 1 MiB", .help = {}});
  }
  out.resize(static_cast<std::size_t>(status.st_size));
  std::size_t have = 0;
  while (have < out.size()) {
    const ssize_t count = ::read(fd, out.data() + have, out.size() - have);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw SystemError(errno, doing, path);
    if (count == 0) break;  // it was made shorter meanwhile
    have += static_cast<std::size_t>(count);
  }
  OPENSSL_cleanse(out.data() + have, out.size() - have);
  out.resize(have);
}

void ReadAt(int directory, const std::string& where, std::string_view name, std::string& out) {
  const std::string file(name);
  // O_NONBLOCK: do not wait for a FIFO.
  const UniqueFd fd(::openat(directory, file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const std::string path = where + "/" + file;
  if (!fd) throw SystemError(errno, "read credentials", path);
  ReadInto(fd.get(), "read credentials", path, out);
}

bool IsThere(int directory, std::string_view name) {
  return ::faccessat(directory, std::string(name).c_str(), F_OK, 0) == 0;
}

// The layout whose three files all exist; otherwise an error says what is missing.
const CredentialLayout& FindLayout(int directory, const std::string& where) {
  std::vector<const CredentialLayout*> complete;
  std::string missing;
  for (const CredentialLayout& layout : kCredentialLayouts) {
    std::string absent;
    int present = 0;
    for (const std::string_view name : {layout.chain, layout.key, layout.roots}) {
      if (IsThere(directory, name)) {
        ++present;
      } else {
        absent += (absent.empty() ? "" : " and ") + std::string(name);
      }
    }
    if (present == 3) complete.push_back(&layout);
    if (present > 0 && present < 3) {
      missing = "of the files of " + std::string(layout.writer) + ", " + absent + " is missing";
    }
  }
  if (complete.size() == 1) return *complete.front();
  std::string help = "one of these sets of files belongs there:";
  for (const CredentialLayout& layout : kCredentialLayouts) {
    help += (&layout == kCredentialLayouts.data() ? " " : "; ") + std::string(layout.chain) + ", " +
            std::string(layout.key) + ", " + std::string(layout.roots);
  }
  std::string why = "it has the files of more than one writer, " +
                    std::string(complete.empty() ? "" : complete[0]->writer) + " and others";
  if (complete.empty()) why = missing.empty() ? "it has no credentials" : missing;
  throw Error(ErrorKind::kFailed,
              {.doing = "read credentials", .target = where, .why = why, .help = help});
}

}  // namespace

CredentialFiles::~CredentialFiles() { OPENSSL_cleanse(key.data(), key.size()); }

void ReadCredentialFiles(const std::string& directory, CredentialFiles& out) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  UniqueFd fd(::open(directory.c_str(), kFlags));
  if (!fd) throw SystemError(errno, "read credentials", directory);
  UniqueFd version(::openat(fd.get(), "..data", kFlags));
  if (!version && errno != ENOENT) throw SystemError(errno, "read credentials", directory);
  if (version) fd = std::move(version);
  const CredentialLayout& layout = FindLayout(fd.get(), directory);
  out.layout = &layout;
  ReadAt(fd.get(), directory, layout.chain, out.chain);
  ReadAt(fd.get(), directory, layout.key, out.key);
  ReadAt(fd.get(), directory, layout.roots, out.roots);
}

std::string ReadSmallFile(const std::string& path, const std::string& doing) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) throw SystemError(errno, doing, path);
  std::string out;
  ReadInto(fd.get(), doing, path, out);
  return out;
}

}  // namespace sluice::tls
