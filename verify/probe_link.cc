// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/probe_link.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace sluice::verify {
namespace {

// The Ethernet address of the outside world. It differs from the peer's: the kernel ignores frames
// to another host (PACKET_OTHERHOST), so it does not receive them a second time on that end
// (net/ipv4/ip_input.c, ip_rcv_core), while a packet socket sees them. Locally administered.
constexpr MacAddress kStation = {0x02, 0x51, 0x0c, 0xe0, 0x00, 0x01};

UniqueFd OpenPacketSocket(const std::string& peer) {
  UniqueFd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL)));
  if (!fd) {
    throw SystemError(errno, "open a packet socket", peer,
                      "playing the outside world needs CAP_NET_RAW");
  }
  sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(peer.c_str()));
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    throw SystemError(errno, "bind a packet socket", peer);
  }
  // Bypass the queueing discipline, which the kernel starts asynchronously.
  const int on = 1;
  if (setsockopt(fd.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) != 0) {
    throw SystemError(errno, "set PACKET_QDISC_BYPASS", peer);
  }
  return fd;
}

MacAddress MacOf(int any_socket, const std::string& link) {
  ifreq request = {};
  std::strncpy(request.ifr_name, link.c_str(), IFNAMSIZ - 1);
  if (ioctl(any_socket, SIOCGIFHWADDR, &request) != 0) {
    throw SystemError(errno, "read the address of a network device", link);
  }
  MacAddress out;
  std::memcpy(out.data(), request.ifr_hwaddr.sa_data, out.size());
  return out;
}

void AddPair(netns::RouteSocket& socket, const InterfaceNames& names) {
  try {
    socket.AddVeth({.name = names.pod}, {.name = names.peer});
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kKernelFeature) throw;
    ErrorText text = error.text();
    text.help = "validation needs a veth pair: load the module veth, or leave --run-validation out";
    throw Error(error.kind(), std::move(text));
  }
}

}  // namespace

ProbeLink::ProbeLink(netns::RouteSocket& socket, InterfaceNames names)
    : socket_(socket), names_(std::move(names)) {
  RemoveProbeLinks(socket_);
  AddPair(socket_, names_);
  try {
    // The peer comes last: a device whose peer is already up has its carrier and queue at once
    // (net/core/dev.c, dev_activate), so there is nothing to wait for.
    socket_.SetUp(names_.peer, true);
    socket_.SetUp(names_.pod, true);
    packets_ = OpenPacketSocket(names_.peer);
    pod_mac_ = MacOf(packets_.get(), names_.pod);
  } catch (...) {
    RemoveProbeLinks(socket_);
    throw;
  }
}

ProbeLink::~ProbeLink() {
  try {
    socket_.DeleteLink(names_.pod);
  } catch (const Error&) {
    // The next run, or --cleanup-only, removes leftovers.
  }
}

void ProbeLink::AddAddress(const IpAddress& address) {
  socket_.AddAddress(names_.pod, netns::InterfaceAddress::Host(address));
}

bool ProbeLink::Reach(const IpAddress& address) {
  if (std::ranges::find(reached_, address) != reached_.end()) return true;
  const Cidr host(address, AddressBits(address.family()));
  const netns::Route route{.destination = host, .next_hops = {{.device = names_.pod}}, .metric = 1};
  const auto routes = socket_.Routes(address.family());
  if (std::ranges::any_of(routes, [&](const auto& other) { return other.destination == host; })) {
    return false;
  }
  socket_.AddRoute(route);
  socket_.SetNeighbor(names_.pod, {.ip = address, .mac = kStation});
  reached_.push_back(address);
  return true;
}

void ProbeLink::Send(const Segment& segment) {
  const auto frame = BuildFrame(segment, kStation, pod_mac_);
  if (send(packets_.get(), frame.data(), frame.size(), 0) < 0) {
    throw SystemError(errno, "send a frame", names_.peer);
  }
}

std::optional<Segment> ProbeLink::Receive() {
  std::array<std::uint8_t, 65536> buffer;  // may get a packet for a device to segment
  sockaddr_ll from = {};
  for (;;) {
    socklen_t length = sizeof(from);
    const ssize_t size = recvfrom(packets_.get(), buffer.data(), buffer.size(), 0,
                                  reinterpret_cast<sockaddr*>(&from), &length);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
    if (size < 0) throw SystemError(errno, "receive a frame", names_.peer);
    if (from.sll_pkttype == PACKET_OUTGOING) continue;  // our own
    const auto segment = ParseFrame(std::span(buffer).first(static_cast<std::size_t>(size)));
    if (segment) return segment;
  }
}

bool MayHaveProbeLink(netns::NetworkState& network) {
  return if_nametoindex(DefaultInterfaceNames().pod.c_str()) != 0 ||
         std::ranges::any_of(network.Addresses(), [](const netns::AddressEntry& entry) {
           return IsProbeInterface(entry.link);
         });
}

int RemoveProbeLinks(netns::RouteSocket& socket) {
  int count = 0;
  for (const netns::Link& link : socket.Links()) {
    if (!IsProbeInterface(link.name)) continue;
    if (socket.DeleteLink(link.name) == netns::Change::kDone) ++count;
  }
  return count;
}

std::vector<std::string> ProbeLinkCleanupStep::Have() {
  std::vector<std::string> out;
  for (const netns::Link& link : socket_.Links()) {
    if (IsProbeInterface(link.name)) out.push_back(link.name);
  }
  return out;
}

}  // namespace sluice::verify
