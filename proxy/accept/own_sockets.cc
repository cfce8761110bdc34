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

// An entry: a hash of both addresses, and below it the descriptor, plus one so that no entry is 0,
// which is a free place. Two connections with one hash are told apart by their sockets.
constexpr int kDescriptorBits = 24;
constexpr std::uint64_t kDescriptorMask = (std::uint64_t{1} << kDescriptorBits) - 1;

std::uint64_t Hash(const SocketAddress& local, const SocketAddress& remote) {
  return Add(Add(1, local), remote) & ~kDescriptorMask;
}

std::uint64_t Entry(std::uint64_t hash, int fd) {
  return hash | static_cast<std::uint64_t>(fd + 1);
}

std::size_t PlaceOf(std::uint64_t hash, std::size_t places) {
  return (hash >> kDescriptorBits) % places;
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

void OwnSockets::Add(int fd, const SocketAddress& local, const SocketAddress& remote) {
  // More descriptors than the kernel allows a process by default (fs.nr_open) by far.
  if (static_cast<std::uint64_t>(fd) >= kDescriptorMask) return;
  const std::uint64_t hash = Hash(local, remote);
  places_[PlaceOf(hash, kPlaces)].store(Entry(hash, fd), std::memory_order_relaxed);
}

void OwnSockets::Remove(int fd, const SocketAddress& local, const SocketAddress& remote) {
  const std::uint64_t hash = Hash(local, remote);
  std::uint64_t entry = Entry(hash, fd);
  // Only when nobody else has taken the place meanwhile.
  places_[PlaceOf(hash, kPlaces)].compare_exchange_strong(entry, 0, std::memory_order_relaxed);
}

bool OwnSockets::Contains(const SocketAddress& local, const SocketAddress& remote) const {
  const std::uint64_t hash = Hash(local, remote);
  const std::uint64_t entry = places_[PlaceOf(hash, kPlaces)].load(std::memory_order_relaxed);
  if (entry == 0 || (entry & ~kDescriptorMask) != hash) return false;
  return IsOpen(static_cast<int>(entry & kDescriptorMask) - 1, local, remote);
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
