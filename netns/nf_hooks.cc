// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/nf_hooks.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <span>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sluice::netns {
namespace {

constexpr const char* kListHooks = "list the base chains of nf_tables";
using Bytes = std::span<const std::byte>;

// The attributes of a message, by type.
std::map<int, Bytes> Attributes(Bytes bytes) {
  std::map<int, Bytes> out;
  nlattr attribute{};
  while (bytes.size() >= sizeof(attribute)) {
    std::memcpy(&attribute, bytes.data(), sizeof(attribute));
    if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > bytes.size()) break;
    out[attribute.nla_type & NLA_TYPE_MASK] =
        bytes.subspan(NLA_HDRLEN, attribute.nla_len - NLA_HDRLEN);
    bytes = bytes.subspan(std::min<std::size_t>(NLA_ALIGN(attribute.nla_len), bytes.size()));
  }
  return out;
}

std::uint32_t Number(const std::map<int, Bytes>& attributes, int type) {
  const auto found = attributes.find(type);
  std::uint32_t raw = 0;
  if (found == attributes.end() || found->second.size() < sizeof(raw)) return 0;
  std::memcpy(&raw, found->second.data(), sizeof(raw));
  return ntohl(raw);
}

std::string Text(const std::map<int, Bytes>& attributes, int type) {
  const auto found = attributes.find(type);
  if (found == attributes.end()) return {};
  const auto* text = reinterpret_cast<const char*>(found->second.data());
  return std::string(text, strnlen(text, found->second.size()));
}

void Decode(Bytes message, std::vector<NfBaseChain>& out) {
  nfgenmsg header{};
  if (message.size() < sizeof(header)) return;
  std::memcpy(&header, message.data(), sizeof(header));
  const auto attributes = Attributes(
      message.subspan(std::min<std::size_t>(NLMSG_ALIGN(sizeof(header)), message.size())));
  const auto hook = attributes.find(NFTA_CHAIN_HOOK);
  if (hook == attributes.end()) return;
  // Without rules and with policy accept it has no effect: iptables-nft leaves such chains behind.
  const bool drops =
      Number(attributes, NFTA_CHAIN_POLICY) == NF_DROP && attributes.contains(NFTA_CHAIN_POLICY);
  if (Number(attributes, NFTA_CHAIN_USE) == 0 && !drops) return;
  const auto inside = Attributes(hook->second);
  NfBaseChain chain{.table = Text(attributes, NFTA_CHAIN_TABLE),
                    .chain = Text(attributes, NFTA_CHAIN_NAME),
                    .hook = Number(inside, NFTA_HOOK_HOOKNUM),
                    .priority = static_cast<std::int32_t>(Number(inside, NFTA_HOOK_PRIORITY))};
  chain.ipv4 = header.nfgen_family == NFPROTO_IPV4 || header.nfgen_family == NFPROTO_INET;
  chain.ipv6 = header.nfgen_family == NFPROTO_IPV6 || header.nfgen_family == NFPROTO_INET;
  // The ingress hook of family inet has its own number.
  if (chain.hook < NF_INET_NUMHOOKS && (chain.ipv4 || chain.ipv6)) out.push_back(std::move(chain));
}

}  // namespace

std::optional<std::vector<NfBaseChain>> ListNfBaseChains() {
  std::vector<NfBaseChain> out;
  const UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  // A kernel without nfnetlink has no nf_tables.
  if (!socket && errno == EPROTONOSUPPORT) return out;
  if (!socket) throw SystemError(errno, kListHooks);
  struct {
    nlmsghdr header;
    nfgenmsg family;
  } request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.header.nlmsg_seq = 1;
  request.family.nfgen_family = NFPROTO_UNSPEC;
  while (send(socket.get(), &request, sizeof(request), 0) < 0) {
    if (errno != EINTR) throw SystemError(errno, kListHooks);
  }
  // Dump messages have up to 32 KiB.
  std::vector<std::byte> buffer(64 << 10);
  while (true) {
    const ssize_t size = recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw SystemError(errno, kListHooks);
    Bytes rest = Bytes(buffer).first(static_cast<std::size_t>(size));
    nlmsghdr header{};
    while (rest.size() >= sizeof(header)) {
      std::memcpy(&header, rest.data(), sizeof(header));
      if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > rest.size()) break;
      const Bytes body = rest.subspan(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
      if (header.nlmsg_type == NLMSG_DONE) return out;
      if (header.nlmsg_type == NLMSG_ERROR) {
        int error = 0;
        if (body.size() >= sizeof(error)) std::memcpy(&error, body.data(), sizeof(error));
        if (error == -EPERM) return std::nullopt;
        // The subsystem is missing.
        if (error == -EINVAL || error == -EOPNOTSUPP || error == 0) return out;
        throw SystemError(-error, kListHooks);
      }
      Decode(body, out);
      rest = rest.subspan(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
    }
  }
}

}  // namespace sluice::netns
