// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/explain/kernel_host.h"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

namespace sluice::init {

using capture::explain::RouteAnswer;
using capture::explain::RouteQuery;
using Kind = RouteAnswer::Kind;

RouteAnswer KernelHost::Route(const RouteQuery& query) {
  const auto found = answers_.find(query);
  if (found != answers_.end()) return found->second;
  RouteAnswer answer = Ask(query);
  if (planned_ && query.arriving && answer.kind != Kind::kLocal) {
    // The route that comes with the rules leads marked TPROXY packets to the listener.
    answer = {.kind = Kind::kLocal, .device = "lo"};
    if (query.mark == 0 && !query.to.IsUnspecified()) {
      answer.note =
          query.to.ToString() + " is no address of this namespace, and taken to be the pod's";
    }
  } else if (planned_ && (answer.kind == Kind::kNone || answer.kind == Kind::kUnknown)) {
    answer = {.kind = Kind::kForward, .device = "eth0"};
    answer.note = "there is no route to " + query.to.ToString() +
                  " in this namespace; it is taken to leave by eth0";
  }
  return answers_.emplace(query, std::move(answer)).first->second;
}

RouteAnswer KernelHost::Ask(const RouteQuery& query) {
  netns::RouteRequest request{
      .to = query.to, .from = query.from, .mark = query.mark, .uid = query.uid};
  if (!query.in_interface.empty()) request.in_link = IndexOf(query.in_interface);
  netns::RouteReply reply = lookup_.Ask(request);
  if (reply.error == EINVAL && request.from && request.in_link == 0) {
    // The source is not a local address: a transparent socket may use it all the same.
    request.from.reset();
    reply = lookup_.Ask(request);
  }
  if (reply.error == EXDEV || (reply.error == EINVAL && request.in_link != 0)) {
    return {.kind = Kind::kMartian};
  }
  if (reply.error != 0) return {.kind = Kind::kNone};
  switch (reply.type) {
    case RTN_LOCAL:
      return {.kind = Kind::kLocal, .device = "lo", .source = reply.source};
    case RTN_UNICAST:
      // ip_forward(), ip6_forward(): packets for other hosts are forwarded only if that is on.
      if (query.arriving && !Forwards(query.to.family())) return {.kind = Kind::kNone};
      return {.kind = Kind::kForward, .device = NameOf(reply.out_link), .source = reply.source};
    case RTN_BROADCAST:
    case RTN_MULTICAST:
    case RTN_ANYCAST:
      return {.kind = Kind::kBroadcast, .device = NameOf(reply.out_link), .source = reply.source};
    default:
      return {.kind = Kind::kNone};
  }
}

std::optional<IpAddress> KernelHost::FirstAddress(const std::string& interface, Family family) {
  for (const netns::AddressEntry& entry : network_.Addresses()) {
    if (entry.link == interface && entry.address.ip.family() == family && !entry.tentative) {
      return entry.address.ip;
    }
  }
  if (!planned_) return {};
  return IpAddress::Parse(family == Family::kIpv4 ? "0.0.0.0" : "::");
}

std::optional<bool> KernelHost::Takes(const capture::explain::SocketQuery& query) {
  if (planned_ || query.protocol != capture::Protocol::kTcp) return {};
  if (!sockets_) sockets_.emplace();
  const int in_link = query.in_interface.empty() ? 0 : IndexOf(query.in_interface);
  return sockets_->Listens(query.to, in_link);
}

bool KernelHost::IsOwn(const IpAddress& address) {
  return Ask({.to = address}).kind == Kind::kLocal;
}

bool KernelHost::Forwards(Family family) {
  std::optional<bool>& on = family == Family::kIpv4 ? forwards_v4_ : forwards_v6_;
  if (!on) {
    std::ifstream file(family == Family::kIpv4 ? "/proc/sys/net/ipv4/ip_forward"
                                               : "/proc/sys/net/ipv6/conf/all/forwarding");
    int value = 0;
    on = static_cast<bool>(file >> value) && value != 0;
  }
  return *on;
}

void KernelHost::ReadLinks() {
  if (links_) return;
  links_.emplace();
  for (const netns::Link& link : network_.socket().Links()) links_->emplace(link.name, link.index);
}

int KernelHost::IndexOf(const std::string& name) {
  ReadLinks();
  const auto found = links_->find(name);
  return found == links_->end() ? 0 : found->second;
}

std::string KernelHost::NameOf(int index) {
  ReadLinks();
  for (const auto& [name, number] : *links_) {
    if (number == index) return name;
  }
  return {};
}

}  // namespace sluice::init
