// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace sluice {

// A file that readers see whole or not at all: it is written under a temporary name in the same
// directory and then gets its own. Removed if that does not happen. All functions throw Error,
// which names `path`.
class NewFile {
 public:
  // Of mode 0600 and this process's owner.
  explicit NewFile(std::string path);
  ~NewFile();
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;

  void Write(std::string_view text);
  void SetMode(::mode_t mode);
  // Without the privilege for that, the owner stays as it is.
  void SetOwner(::uid_t user, ::gid_t group);

  // To the disk. Before the file gets its name, or after a crash it may be empty.
  void Sync();
  // Takes the place of a file with its name.
  void Replace();
  // Fails if there is a file with its name.
  void Create();

 private:
  [[noreturn]] void Fail() const;

  std::string path_;
  std::string temporary_;  // empty: there is nothing to remove
  UniqueFd fd_;
};

}  // namespace sluice
