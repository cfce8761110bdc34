// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/own_sockets.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include <spdlog/spdlog.h>

#include "proxy/accept/sockets.h"

namespace sluice::proxy {
namespace {

// The finaliser of SplitMix64: every bit of the input changes half of those of the output.
std::uint64_t Mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

std::uint64_t Add(std::uint64_t hash, const SocketAddress& address) {
  std::uint64_t words[2] = {0, 0};
  const auto bytes = address.ip.bytes();
  std::memcpy(words, bytes.data(), bytes.size());
  hash = Mix(hash ^ words[0]);
  hash = Mix(hash ^ words[1]);
  return Mix(hash ^ address.port);
}

// An entry: a hash of both addresses, below it the number of passes, which is never 0, so that no
// entry is 0, which is a free place; and below that the descriptor. Two connections with one hash
// are told apart by their sockets.
constexpr int kDescriptorBits = 24;
constexpr int kHashShift = kDescriptorBits + 3;
constexpr std::uint64_t kDescriptorMask = (std::uint64_t{1} << kDescriptorBits) - 1;
constexpr std::uint64_t kHashMask = ~((std::uint64_t{1} << kHashShift) - 1);
static_assert(OwnSockets::kLoop + 1 < 8, "as many passes as there are bits for");

std::uint64_t Hash(const SocketAddress& local, const SocketAddress& remote) {
  return Add(Add(1, local), remote) & kHashMask;
}

std::uint64_t Entry(std::uint64_t hash, int fd, unsigned passes) {
  return hash | (std::uint64_t{passes} << kDescriptorBits) | static_cast<std::uint64_t>(fd);
}

int DescriptorOf(std::uint64_t entry) { return static_cast<int>(entry & kDescriptorMask); }

unsigned PassesOf(std::uint64_t entry) {
  return static_cast<unsigned>((entry & ~kHashMask) >> kDescriptorBits);
}

std::size_t PlaceOf(std::uint64_t hash, std::size_t places) {
  return (hash >> kHashShift) % places;
}

// Whether the socket has these addresses still: one that was reset has no peer any more, and a
// descriptor that is another file by now has other addresses or none.
bool IsOpen(int fd, const SocketAddress& local, const SocketAddress& remote) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
  return FromSockaddr(address) == remote && LocalAddress(fd) == local;
}

}  // namespace

OwnSockets::OwnSockets() : uid_(::geteuid()) {}

void OwnSockets::Add(int fd, const SocketAddress& local, const SocketAddress& remote,
                     unsigned passes) {
  // More descriptors than the kernel allows a process by default (fs.nr_open) by far.
  if (static_cast<std::uint64_t>(fd) > kDescriptorMask) return;
  const std::uint64_t hash = Hash(local, remote);
  places_[PlaceOf(hash, kPlaces)].store(Entry(hash, fd, passes), std::memory_order_relaxed);
}

void OwnSockets::Remove(int fd, const SocketAddress& local, const SocketAddress& remote) {
  const std::uint64_t hash = Hash(local, remote);
  std::atomic<std::uint64_t>& place = places_[PlaceOf(hash, kPlaces)];
  std::uint64_t entry = place.load(std::memory_order_relaxed);
  // Only when nobody else has taken the place meanwhile.
  if (entry == Entry(hash, fd, PassesOf(entry))) {
    place.compare_exchange_strong(entry, 0, std::memory_order_relaxed);
  }
}

unsigned OwnSockets::Passes(const SocketAddress& local, const SocketAddress& remote) const {
  const std::uint64_t hash = Hash(local, remote);
  const std::uint64_t entry = places_[PlaceOf(hash, kPlaces)].load(std::memory_order_relaxed);
  if (entry == 0 || (entry & kHashMask) != hash) return 0;
  return IsOpen(DescriptorOf(entry), local, remote) ? PassesOf(entry) : 0;
}

void OwnSockets::WarnOnce() {
  if (warned_.exchange(true)) return;
  spdlog::warn(
      "connections of this proxy come back to it, and are refused (NR, loop): the rules do not "
      "exempt its uid {0}; either `sluice-init -u {0}`, or run it as the uid that the rules name "
      "(1337 when sluice-init was given no -u)",
      uid_);
}

}  // namespace sluice::proxy
