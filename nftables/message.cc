// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/message.h"

#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cstring>

namespace sluice::nftables {
namespace {

std::size_t Aligned(std::size_t size) { return (size + 3) & ~std::size_t{3}; }

template <typename T>
std::optional<T> Read(Bytes value) {
  if (value.size() != sizeof(T)) return {};
  T out;
  std::memcpy(&out, value.data(), sizeof(out));
  return out;
}

template <typename T>
bool ReadFront(Bytes bytes, T& out) {
  if (bytes.size() < sizeof(out)) return false;
  std::memcpy(&out, bytes.data(), sizeof(out));
  return true;
}

}  // namespace

std::uint16_t MessageType(int message) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message);
}

std::uint8_t KernelFamily(Family family) {
  return family == Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

template <typename T>
void MessageWriter::Set(std::size_t position, T value) {
  std::memcpy(buffer_.data() + position, &value, sizeof(value));
}

void MessageWriter::Begin(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence,
                          std::uint8_t family, std::uint16_t resource) {
  message_ = buffer_.size();
  const nlmsghdr header{.nlmsg_len = 0,
                        .nlmsg_type = type,
                        .nlmsg_flags = static_cast<__u16>(flags | NLM_F_REQUEST),
                        .nlmsg_seq = sequence,
                        .nlmsg_pid = 0};
  const nfgenmsg more{.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htobe16(resource)};
  buffer_.append(reinterpret_cast<const char*>(&header), sizeof(header));
  buffer_.append(reinterpret_cast<const char*>(&more), sizeof(more));
}

void MessageWriter::End() {
  Set(message_ + offsetof(nlmsghdr, nlmsg_len), static_cast<__u32>(buffer_.size() - message_));
}

void MessageWriter::Acknowledge() {
  nlmsghdr header;
  std::memcpy(&header, buffer_.data() + message_, sizeof(header));
  Set(message_ + offsetof(nlmsghdr, nlmsg_flags),
      static_cast<__u16>(header.nlmsg_flags | NLM_F_ACK));
}

char* MessageWriter::Add(std::uint16_t attribute, std::size_t size) {
  const std::size_t start = buffer_.size();
  const nlattr header{.nla_len = static_cast<__u16>(sizeof(header) + size), .nla_type = attribute};
  buffer_.resize(start + sizeof(header) + Aligned(size));
  std::memcpy(buffer_.data() + start, &header, sizeof(header));
  return buffer_.data() + start + sizeof(header);
}

void MessageWriter::Put(std::uint16_t attribute, Bytes value) {
  char* const to = Add(attribute, value.size());
  if (!value.empty()) std::memcpy(to, value.data(), value.size());
}

void MessageWriter::PutText(std::uint16_t attribute, std::string_view value) {
  value.copy(Add(attribute, value.size() + 1), value.size());
}

void MessageWriter::PutBig32(std::uint16_t attribute, std::uint32_t value) {
  const std::uint32_t big = htobe32(value);
  Put(attribute, {reinterpret_cast<const std::uint8_t*>(&big), sizeof(big)});
}

void MessageWriter::PutBig64(std::uint16_t attribute, std::uint64_t value) {
  const std::uint64_t big = htobe64(value);
  Put(attribute, {reinterpret_cast<const std::uint8_t*>(&big), sizeof(big)});
}

std::size_t MessageWriter::Open(std::uint16_t attribute) {
  const std::size_t nest = buffer_.size();
  Add(attribute | NLA_F_NESTED, 0);
  return nest;
}

void MessageWriter::Close(std::size_t nest) {
  Set(nest + offsetof(nlattr, nla_len), static_cast<__u16>(buffer_.size() - nest));
}

std::optional<std::uint32_t> Attribute::Big32() const {
  const auto big = Read<std::uint32_t>(value);
  return big ? std::optional(be32toh(*big)) : std::nullopt;
}

std::optional<std::uint64_t> Attribute::Big64() const {
  const auto big = Read<std::uint64_t>(value);
  return big ? std::optional(be64toh(*big)) : std::nullopt;
}

std::string_view Attribute::Text() const {
  const std::string_view text(reinterpret_cast<const char*>(value.data()), value.size());
  return text.substr(0, text.find('\0'));
}

std::optional<Attribute> TakeAttribute(Bytes& bytes) {
  nlattr header;
  if (bytes.size() < sizeof(header)) return {};
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.nla_len < sizeof(header) || header.nla_len > bytes.size()) return {};
  const Attribute out{.type = static_cast<std::uint16_t>(header.nla_type & NLA_TYPE_MASK),
                      .value = bytes.subspan(sizeof(header), header.nla_len - sizeof(header))};
  bytes = bytes.subspan(std::min(Aligned(header.nla_len), bytes.size()));
  return out;
}

std::optional<Attribute> FindAttribute(Bytes bytes, std::uint16_t type) {
  while (const auto attribute = TakeAttribute(bytes)) {
    if (attribute->type == type) return attribute;
  }
  return {};
}

std::string TextOf(Bytes bytes, std::uint16_t type) {
  const auto found = FindAttribute(bytes, type);
  return found ? std::string(found->Text()) : std::string();
}

std::optional<std::uint32_t> NumberOf(Bytes bytes, std::uint16_t type) {
  const auto found = FindAttribute(bytes, type);
  return found ? found->Big32() : std::nullopt;
}

std::optional<Message> TakeMessage(Bytes& bytes) {
  nlmsghdr header{};
  if (!ReadFront(bytes, header)) return {};
  if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > bytes.size()) return {};
  Message out{.type = header.nlmsg_type,
              .flags = header.nlmsg_flags,
              .sequence = header.nlmsg_seq,
              .payload = bytes.first(header.nlmsg_len).subspan(sizeof(header))};
  if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) {
    int code = 0;
    // The kernel's are negative.
    if (ReadFront(out.payload, code) && code < 0 && code > -4096) out.error = -code;
  }
  bytes = bytes.subspan(std::min(Aligned(header.nlmsg_len), bytes.size()));
  return out;
}

std::optional<NetfilterMessage> OfNetfilter(const Message& message) {
  nfgenmsg header{};
  if (message.type < NLMSG_MIN_TYPE || !ReadFront(message.payload, header)) return {};
  return NetfilterMessage{header.nfgen_family, message.payload.subspan(sizeof(header))};
}

}  // namespace sluice::nftables
