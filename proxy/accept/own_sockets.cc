// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/own_sockets.h"

#include <unistd.h>

#include <cstring>

#include <spdlog/spdlog.h>

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

// 64 bits stand for both addresses: two connections have the same ones once in 10^19. Never 0,
// which is a free place.
std::uint64_t Key(const SocketAddress& local, const SocketAddress& remote) {
  return Add(Add(1, local), remote) | 1;
}

// The lowest bit is always set.
std::size_t PlaceOf(std::uint64_t key, std::size_t places) { return (key >> 1) % places; }

}  // namespace

OwnSockets::OwnSockets() : uid_(::geteuid()) {}

void OwnSockets::Add(const SocketAddress& local, const SocketAddress& remote) {
  const std::uint64_t key = Key(local, remote);
  places_[PlaceOf(key, kPlaces)].store(key, std::memory_order_relaxed);
}

void OwnSockets::Remove(const SocketAddress& local, const SocketAddress& remote) {
  std::uint64_t key = Key(local, remote);
  // Only when nobody else has taken the place meanwhile.
  places_[PlaceOf(key, kPlaces)].compare_exchange_strong(key, 0, std::memory_order_relaxed);
}

bool OwnSockets::Contains(const SocketAddress& local, const SocketAddress& remote) const {
  const std::uint64_t key = Key(local, remote);
  return places_[PlaceOf(key, kPlaces)].load(std::memory_order_relaxed) == key;
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
