// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/http/head.h"

namespace sluice::proxy {

// Reads what stands between the data of a chunked body (RFC 9112, section 7.1): lines with sizes,
// and the trailers. The data itself passes unseen.
class ChunkReader {
 public:
  // A request with extensions is refused: nobody sends them, and servers have disagreed where they
  // end. A response's are passed on.
  explicit ChunkReader(bool extensions_allowed = false) : extensions_allowed_(extensions_allowed) {}

  struct Piece {
    std::size_t used = 0;    // of the bytes that were given
    std::uint64_t data = 0;  // so many bytes after them are data
    bool done = false;       // the body has ended
    HeadError error = nullptr;
  };

  // The next bytes, behind the data of the step before. Appends to `out` what to send for the ones
  // that were used; trailers that may not pass are left out.
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
