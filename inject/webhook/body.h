// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>
#include <boost/system/errc.hpp>

namespace sluice::inject::webhook {

// Memory that the bodies of all requests share. For use by one thread.
class BodyBudget {
 public:
  explicit BodyBudget(std::size_t bytes) : limit_(bytes) {}

  // Whether there was as much.
  bool Take(std::size_t bytes) {
    if (bytes > limit_ - taken_) return false;
    taken_ += bytes;
    return true;
  }
  void GiveBack(std::size_t bytes) { taken_ -= bytes; }
  std::size_t taken() const { return taken_; }

 private:
  std::size_t limit_;
  std::size_t taken_ = 0;
};

// The body of a request, which takes its memory from a budget as it arrives, and not as announced:
// a client that announces much and sends nothing would use up the budget. Fails with
// errc::not_enough_memory when the budget is used up.
struct BudgetedBody {
  class value_type {
   public:
    value_type() = default;
    ~value_type() { Clear(); }
    value_type(const value_type&) = delete;
    value_type& operator=(const value_type&) = delete;

    // Before the body is read.
    void TakeFrom(BodyBudget& budget) { budget_ = &budget; }

    const std::string& text() const { return text_; }

    // Whether there was memory for it.
    bool Append(const char* data, std::size_t size) {
      const std::size_t wanted = text_.size() + size;
      if (wanted > text_.capacity()) {
        // The budget counts what is allocated.
        const std::size_t room = std::max(std::bit_ceil(wanted), kLeastRoom);
        if (room > kFree) {
          const std::size_t bytes = room - kFree - taken_;
          if (budget_ == nullptr || !budget_->Take(bytes)) return false;
          taken_ += bytes;
        }
        text_.reserve(room);
      }
      text_.append(data, size);
      return true;
    }

    void Clear() {
      std::string().swap(text_);
      if (budget_ != nullptr) budget_->GiveBack(taken_);
      taken_ = 0;
    }

   private:
    // Of each body this much is not counted, so that large requests keep nobody from sending the
    // usual ones, which have a few kilobytes.
    static constexpr std::size_t kFree = 64 * 1024;
    static constexpr std::size_t kLeastRoom = 8 * 1024;

    BodyBudget* budget_ = nullptr;
    std::size_t taken_ = 0;
    std::string text_;
  };

  class reader {
   public:
    template <bool kIsRequest, class Fields>
    reader(boost::beast::http::header<kIsRequest, Fields>&, value_type& body) : body_(body) {}

    void init(const boost::optional<std::uint64_t>&, boost::beast::error_code& error) {
      error = {};
    }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, boost::beast::error_code& error) {
      error = {};
      std::size_t size = 0;
      for (auto at = boost::asio::buffer_sequence_begin(buffers);
           at != boost::asio::buffer_sequence_end(buffers); ++at) {
        const boost::asio::const_buffer buffer = *at;
        if (!body_.Append(static_cast<const char*>(buffer.data()), buffer.size())) {
          error = make_error_code(boost::system::errc::not_enough_memory);
          return size;
        }
        size += buffer.size();
      }
      return size;
    }
    void finish(boost::beast::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

}  // namespace sluice::inject::webhook
