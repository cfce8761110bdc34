// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/ip_address.h"

// Netlink messages and attributes as bytes (linux/netlink.h). Pure.
namespace sluice::nftables {

using Bytes = std::span<const std::uint8_t>;

// The type of a message to nf_tables, such as NFT_MSG_NEWRULE.
std::uint16_t MessageType(int message);
// NFPROTO_IPV4 or NFPROTO_IPV6.
std::uint8_t KernelFamily(Family family);

// Writes messages one after the other. Messages and nests are closed innermost first.
class MessageWriter {
 public:
  // `type` is that of nlmsghdr; `family` and `resource` those of nfgenmsg.
  void Begin(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence, std::uint8_t family,
             std::uint16_t resource = 0);
  void End();

  void Put(std::uint16_t attribute, Bytes value);
  void PutText(std::uint16_t attribute, std::string_view value);  // with its NUL
  void PutBig32(std::uint16_t attribute, std::uint32_t value);
  void PutBig64(std::uint16_t attribute, std::uint64_t value);

  [[nodiscard]] std::size_t Open(std::uint16_t attribute);
  void Close(std::size_t nest);
  // The nest's size in bytes so far: an attribute has at most 65,535.
  std::size_t SizeOf(std::size_t nest) const { return buffer_.size() - nest; }

  const std::string& bytes() const { return buffer_; }
  // Makes room for as many bytes more.
  void Reserve(std::size_t more) { buffer_.reserve(buffer_.size() + more); }
  void Clear() { buffer_.clear(); }
  // Requests an acknowledgement for the last message begun.
  void Acknowledge();

 private:
  template <typename T>
  void Set(std::size_t position, T value);
  // Appends an attribute with a value of zeros. Returns where the value is, until more is appended.
  char* Add(std::uint16_t attribute, std::size_t size);

  std::string buffer_;
  std::size_t message_ = 0;
};

struct Attribute {
  std::uint16_t type = 0;  // without the flag for nests
  Bytes value = {};

  // Nothing if the size differs.
  std::optional<std::uint32_t> Big32() const;
  std::optional<std::uint64_t> Big64() const;
  // Up to its NUL.
  std::string_view Text() const;
};

// Calls `visit` with each attribute of `bytes`, in order. Truncated ones are left out.
template <typename Visit>
void ForEachAttribute(Bytes bytes, Visit visit);

// The first attribute of that type; nothing if there is none.
std::optional<Attribute> FindAttribute(Bytes bytes, std::uint16_t type);
// Its text; empty if there is none.
std::string TextOf(Bytes bytes, std::uint16_t type);
// Its 4-byte number; nothing if it is not one.
std::optional<std::uint32_t> NumberOf(Bytes bytes, std::uint16_t type);

// Removes and returns the attribute at the front of `bytes`; nothing if none is complete.
std::optional<Attribute> TakeAttribute(Bytes& bytes);

template <typename Visit>
void ForEachAttribute(Bytes bytes, Visit visit) {
  while (const auto attribute = TakeAttribute(bytes)) visit(*attribute);
}

// A netlink message, taken off the front of what was received.
struct Message {
  std::uint16_t type = 0;
  std::uint16_t flags = 0;
  std::uint32_t sequence = 0;
  int error = 0;  // of an acknowledgement or the end of a dump: an errno, or 0
  Bytes payload = {};
};
// Nothing if none is complete.
std::optional<Message> TakeMessage(Bytes& bytes);

// The nfgenmsg header of a message of netfilter, and what follows it. Nothing for netlink's own
// messages, such as acknowledgements.
struct NetfilterMessage {
  std::uint8_t family = 0;
  Bytes attributes = {};
};
std::optional<NetfilterMessage> OfNetfilter(const Message& message);

}  // namespace sluice::nftables
