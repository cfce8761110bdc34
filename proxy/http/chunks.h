// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/http/head.h"

namespace sluice::proxy {

// Reads what is between the data of a chunked body (RFC 9112, section 7.1): lines with sizes, and
// trailers. It does not see the data itself.
class ChunkReader {
 public:
  // A request with chunk extensions is refused: clients do not send them, and servers disagree
  // where they end. Those of a response are passed on.
  explicit ChunkReader(bool extensions_allowed = false) : extensions_allowed_(extensions_allowed) {}

  struct Piece {
    std::size_t used = 0;    // of the bytes that were given
    std::uint64_t data = 0;  // so many bytes after them are data
    bool done = false;       // the body has ended
    HeadError error = nullptr;
  };

  // Reads the next bytes, after the data of the piece before. Appends to `out` what to send for the
  // bytes used, without the trailers that must not pass.
  Piece Feed(std::string_view bytes, std::string& out);

 private:
  enum class State : std::uint8_t { kSize, kDataEnd, kTrailer };

  Piece Line(std::string& out);

  State state_ = State::kSize;
  bool extensions_allowed_;
  std::size_t trailer_bytes_ = 0;
  std::string line_ = {};  // so far
};

}  // namespace sluice::proxy
