// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/os/proc.h"
#include "doctor/readers.h"

namespace sluice::doctor {
namespace {

// include/net/tcp_states.h; a UDP socket without a peer is TCP_CLOSE.
constexpr std::string_view kListen = "0A";
constexpr std::string_view kUnconnected = "07";

// "0100007F:3A99", or 32 digits for IPv6: 32-bit words in host order, as the kernel has them.
std::optional<SocketAddress> ParseAddress(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon != 8 && colon != 32) return {};
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t at = 0; at < colon; at += 8) {
    std::uint32_t word = 0;
    const char* const begin = text.data() + at;
    if (std::from_chars(begin, begin + 8, word, 16).ptr != begin + 8) return {};
    std::memcpy(bytes.data() + at / 2, &word, sizeof(word));
  }
  std::uint16_t port = 0;
  const char* const begin = text.data() + colon + 1;
  std::from_chars(begin, text.data() + text.size(), port, 16);
  return SocketAddress{IpAddress::FromBytes(std::span(bytes).first(colon / 2)).Unmapped(), port};
}

struct Socket {
  Listener listener;
  std::uint64_t inode = 0;
};

// proc_net_tcp.rst: "sl local_address rem_address st queues timer retransmits uid timeout inode".
bool ReadSockets(const std::string& name, capture::Protocol protocol, std::string_view state,
                 std::vector<Socket>& out) {
  std::ifstream file("/proc/thread-self/net/" + name);
  if (!file.is_open()) return false;
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string number, local, remote, is, queues, timer, retransmits, timeout;
    std::uint32_t uid = 0;
    std::uint64_t inode = 0;
    words >> number >> local >> remote >> is >> queues >> timer >> retransmits >> uid >> timeout >>
        inode;
    const auto address = ParseAddress(local);
    if (!words || is != state || !address) continue;
    out.push_back({{.protocol = protocol, .address = *address, .uid = uid, .process = {}}, inode});
  }
  return true;
}

// The last of the four numbers after "Uid:" is the one for files and sockets.
std::optional<Process> ReadProcess(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  Process out{.pid = pid};
  bool complete = false;
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string key, real, effective, saved;
    words >> key;
    if (key == "Name:") {
      out.name = line.substr(std::min(line.size(), line.find_first_not_of("\t ", key.size())));
    } else if (key == "PPid:") {
      words >> out.parent;
    } else if (key == "Uid:") {
      words >> real >> effective >> saved >> out.uid;
    } else if (key == "Gid:") {
      words >> real >> effective >> saved >> out.gid;
      complete = !words.fail();
    }
  }
  if (!complete) return {};
  return out;
}

std::optional<Limits> ReadLimits(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/limits");
  constexpr std::string_view kKey = "Max open files";
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(kKey)) continue;
    std::istringstream words(line.substr(kKey.size()));
    Limits out;
    words >> out.open_files >> out.hard_open_files;
    if (words) return out;
  }
  return {};
}

Known<std::uint64_t> ReadPipePages() {
  constexpr const char* kPath = "/proc/sys/fs/pipe-user-pages-soft";
  std::ifstream file(kPath);
  std::uint64_t pages = 0;
  file >> pages;
  if (!file) return Known<std::uint64_t>::Not(std::string(kPath) + " cannot be read");
  return pages;
}

}  // namespace

void ReadSocketsAndProcesses(Facts& facts) {
  facts.own_pid = getpid();
  facts.pipe_pages = ReadPipePages();

  std::map<std::uint64_t, Process> holders;  // by the inode of a socket
  struct stat here {};
  if (stat("/proc/thread-self/ns/net", &here) != 0) {
    facts.processes = Known<Processes>::Not("/proc/thread-self/ns/net cannot be read");
  } else {
    Processes found;
    for (const pid_t pid : ListProcesses()) {
      struct stat there {};
      if (stat(("/proc/" + std::to_string(pid) + "/ns/net").c_str(), &there) != 0) {
        if (errno != EACCES && errno != EPERM) continue;
        if (const auto process = ReadProcess(pid)) found.hidden.push_back(*process);
        continue;
      }
      if (there.st_ino != here.st_ino || there.st_dev != here.st_dev) continue;
      const auto process = ReadProcess(pid);
      if (!process) continue;
      found.all.push_back(*process);
      ForEachDescriptor(pid, [&](std::uint64_t inode) {
        // If several processes have the socket, the first: its creator, unless that is gone.
        if (inode != 0) holders.emplace(inode, *process);
        return true;
      });
    }
    facts.processes = std::move(found);
  }

  std::vector<Socket> sockets;
  const bool tcp = ReadSockets("tcp", capture::Protocol::kTcp, kListen, sockets);
  ReadSockets("tcp6", capture::Protocol::kTcp, kListen, sockets);
  ReadSockets("udp", capture::Protocol::kUdp, kUnconnected, sockets);
  ReadSockets("udp6", capture::Protocol::kUdp, kUnconnected, sockets);
  if (!tcp) {
    facts.listeners = Known<std::vector<Listener>>::Not("/proc/net/tcp cannot be read");
    return;
  }
  std::vector<Listener> listeners;
  for (Socket& socket : sockets) {
    if (const auto found = holders.find(socket.inode); found != holders.end()) {
      socket.listener.process = found->second;
      if (const auto limits = ReadLimits(found->second.pid)) {
        facts.limits[found->second.pid] = *limits;
      }
    }
    listeners.push_back(std::move(socket.listener));
  }
  facts.listeners = std::move(listeners);
}

}  // namespace sluice::doctor
