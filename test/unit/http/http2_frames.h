// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::proxy {

inline std::string Http2Frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                              std::string_view payload) {
  std::string out;
  for (const int shift : {16, 8, 0}) out += static_cast<char>(payload.size() >> shift & 0xff);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(stream >> shift & 0xff);
  out += payload;
  return out;
}

// Compresses blocks of fields, as nghttp2 does. One for each direction.
class Http2Encoder {
 public:
  using Field = std::pair<std::string, std::string>;

  explicit Http2Encoder(std::size_t table_bytes = 4096) {
    nghttp2_hd_deflater* deflater = nullptr;
    if (nghttp2_hd_deflate_new(&deflater, table_bytes) != 0) throw std::bad_alloc();
    deflater_.reset(deflater);
  }
  // From here on it keeps so much; the next block says so.
  void Resize(std::size_t table_bytes) {
    nghttp2_hd_deflate_change_table_size(deflater_.get(), table_bytes);
  }

  std::string Block(const std::vector<Field>& fields) {
    std::vector<nghttp2_nv> values;
    for (const auto& [name, value] : fields) {
      // Only read by the encoder.
      auto* const n = reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data()));
      auto* const v = reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data()));
      values.push_back({n, v, name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    std::string out(nghttp2_hd_deflate_bound(deflater_.get(), values.data(), values.size()), '\0');
    const ssize_t size =
        nghttp2_hd_deflate_hd(deflater_.get(), reinterpret_cast<std::uint8_t*>(out.data()),
                              out.size(), values.data(), values.size());
    out.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return out;
  }
  // A frame HEADERS with all of them.
  std::string Headers(std::uint32_t stream, const std::vector<Field>& fields, bool ends) {
    return Http2Frame(1, ends ? 5 : 4, stream, Block(fields));
  }

 private:
  struct Free {
    void operator()(nghttp2_hd_deflater* deflater) const { nghttp2_hd_deflate_del(deflater); }
  };
  std::unique_ptr<nghttp2_hd_deflater, Free> deflater_;
};

}  // namespace sluice::proxy
