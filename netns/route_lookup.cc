// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/route_lookup.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/error.h"

namespace sluice::netns {
namespace {

constexpr const char* kAskForRoute = "ask the kernel for a route";

// A request under construction; large enough for all attributes.
class Request {
 public:
  Request(Family family, std::uint32_t sequence) {
    header_.nlmsg_len = NLMSG_LENGTH(sizeof(rtmsg));
    header_.nlmsg_type = RTM_GETROUTE;
    header_.nlmsg_flags = NLM_F_REQUEST;
    header_.nlmsg_seq = sequence;
    route_.rtm_family = family == Family::kIpv4 ? AF_INET : AF_INET6;
  }

  template <typename T>
  void Add(unsigned short type, const T& value) {
    Add(type, std::as_bytes(std::span(&value, 1)));
  }
  void AddAddress(unsigned short type, const IpAddress& address) {
    (type == RTA_DST ? route_.rtm_dst_len : route_.rtm_src_len) =
        static_cast<unsigned char>(AddressBits(address.family()));
    Add(type, std::as_bytes(address.bytes()));
  }

  std::span<const std::byte> Bytes() {
    std::memcpy(buffer_.data(), &header_, sizeof(header_));
    std::memcpy(buffer_.data() + NLMSG_HDRLEN, &route_, sizeof(route_));
    return std::span(buffer_).first(header_.nlmsg_len);
  }

 private:
  void Add(unsigned short type, std::span<const std::byte> value) {
    const std::size_t at = NLMSG_ALIGN(header_.nlmsg_len);
    rtattr attribute{};
    attribute.rta_type = type;
    attribute.rta_len = static_cast<unsigned short>(RTA_LENGTH(value.size()));
    std::memcpy(buffer_.data() + at, &attribute, sizeof(attribute));
    std::memcpy(buffer_.data() + at + RTA_LENGTH(0), value.data(), value.size());
    header_.nlmsg_len = static_cast<std::uint32_t>(at + RTA_ALIGN(attribute.rta_len));
  }

  std::array<std::byte, 256> buffer_{};
  nlmsghdr header_{};
  rtmsg route_{};
};

// Any bytes are safe.
RouteReply Decode(std::span<const std::byte> message, const nlmsghdr& header) {
  RouteReply out;
  if (header.nlmsg_type == NLMSG_ERROR) {
    nlmsgerr error{};
    if (message.size() < NLMSG_HDRLEN + sizeof(error.error)) return {.error = EIO};
    std::memcpy(&error.error, message.data() + NLMSG_HDRLEN, sizeof(error.error));
    out.error = error.error == 0 ? EIO : -error.error;
    return out;
  }
  rtmsg route{};
  if (message.size() < NLMSG_HDRLEN + sizeof(route)) return {.error = EIO};
  std::memcpy(&route, message.data() + NLMSG_HDRLEN, sizeof(route));
  out.type = route.rtm_type;
  const std::size_t length = route.rtm_family == AF_INET ? 4 : 16;
  std::size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(route));
  rtattr attribute{};
  while (at + sizeof(attribute) <= message.size()) {
    std::memcpy(&attribute, message.data() + at, sizeof(attribute));
    if (attribute.rta_len < sizeof(attribute) || at + attribute.rta_len > message.size()) break;
    const auto value = message.subspan(at + RTA_LENGTH(0), attribute.rta_len - RTA_LENGTH(0));
    if (attribute.rta_type == RTA_OIF && value.size() >= sizeof(out.out_link)) {
      std::memcpy(&out.out_link, value.data(), sizeof(out.out_link));
    } else if (attribute.rta_type == RTA_PREFSRC && value.size() >= length) {
      std::array<std::uint8_t, 16> bytes{};
      std::memcpy(bytes.data(), value.data(), length);
      out.source = IpAddress::FromBytes(std::span(bytes).first(length));
    }
    at += RTA_ALIGN(attribute.rta_len);
  }
  return out;
}

}  // namespace

RouteLookup::RouteLookup() : socket_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) {
  if (!socket_) throw SystemError(errno, kAskForRoute);
}

RouteReply RouteLookup::Ask(const RouteRequest& request) {
  Request message(request.to.family(), ++sequence_);
  message.AddAddress(RTA_DST, request.to);
  if (request.from) message.AddAddress(RTA_SRC, *request.from);
  if (request.in_link != 0) message.Add(RTA_IIF, request.in_link);
  if (request.mark != 0) message.Add(RTA_MARK, request.mark);
  if (request.uid) message.Add(RTA_UID, *request.uid);
  const auto bytes = message.Bytes();
  while (send(socket_.get(), bytes.data(), bytes.size(), 0) < 0) {
    if (errno != EINTR) throw SystemError(errno, kAskForRoute, request.to.ToString());
  }
  std::array<std::byte, 8192> answer;
  while (true) {
    const ssize_t size = recv(socket_.get(), answer.data(), answer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw SystemError(errno, kAskForRoute, request.to.ToString());
    nlmsghdr header{};
    if (static_cast<std::size_t>(size) < sizeof(header)) continue;
    std::memcpy(&header, answer.data(), sizeof(header));
    if (header.nlmsg_seq != sequence_) continue;
    return Decode(std::span(answer).first(static_cast<std::size_t>(size)), header);
  }
}

}  // namespace sluice::netns
