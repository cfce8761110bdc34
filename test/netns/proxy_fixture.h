// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "base/socket_address.h"
#include "base/unique_fd.h"
#include "test/support/command.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {

// Longer than any step of these tests takes, even with a sanitizer on a busy machine; a wait this
// long has failed.
inline constexpr std::chrono::seconds kPatience{60};

// How a byte stream ended.
enum class End : std::uint8_t { kFin, kReset, kTimeout };
std::ostream& operator<<(std::ostream& out, End end);

// A source port that the kernel never chooses, a different one for each `i` below 10,000. A client
// with an arbitrary port may get one that the proxy has used for an unanswered connect: conntrack
// keeps that entry for two minutes, without a redirection, and the client's connection to the same
// destination then bypasses the proxy.
inline std::uint16_t PortOfNoProxy(int i) { return static_cast<std::uint16_t>(20'000 + i); }

// One end of a TCP connection, operated by the test. Blocking, with kPatience as limit.
class Peer {
 public:
  explicit Peer(UniqueFd fd) : fd_(std::move(fd)) {}

  // Connects from `where`, as an application, from any port unless one is given; none if refused,
  // reset or not answered, with errno.
  static std::optional<Peer> Connect(const netns::Namespace& where, const SocketAddress& to,
                                     const Credentials& who = kApplication,
                                     std::uint16_t from_port = 0);

  // False if the connection was reset meanwhile.
  bool Send(std::string_view bytes);
  // Exactly `size` bytes; fewer if the stream ends before.
  std::string Receive(std::size_t size);
  // Everything up to the end.
  std::string ReceiveAll(End& end);
  // Waits for the end of the stream; discards bytes before it.
  End WaitForEnd();
  void EndSending();
  // Closes with a reset.
  void Reset();
  void Close() { fd_.reset(); }

  SocketAddress Remote() const;
  SocketAddress Local() const;
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

// A listening socket on all addresses of one family of a namespace.
class Acceptor {
 public:
  // Port 0: any free port.
  Acceptor(const netns::Namespace& where, Family family, std::uint16_t port = 0,
           std::optional<IpAddress> address = std::nullopt);

  // None after kPatience.
  std::optional<Peer> Accept();
  // The listening socket; connections that nobody accepts wait here.
  int fd() const { return fd_.get(); }
  std::uint16_t port() const { return port_; }

 private:
  UniqueFd fd_;
  std::uint16_t port_ = 0;
};

// Waits until `condition` holds; false after kPatience.
bool Eventually(const std::function<bool()>& condition);

// Raises this process's descriptor limit as far as possible: it has both ends of every connection.
void RaiseDescriptorLimit();

// Prints a measurement; ctest -V shows it.
void Report(std::string_view figure);

// The user and environment of a proxy; by default uid 1337 without capabilities.
struct ProxySetting {
  Credentials who = kProxy;
  std::optional<std::vector<int>> capabilities = {};  // as in Command
  std::vector<std::string> environment = {};          // "NAME=value"
  std::string cgroup_procs = {};                      // as in Command
};

// How a test runs sluice-proxy.
Command ProxyCommand(const std::vector<std::string>& flags, ProxySetting setting = {});

// sluice-proxy in a namespace.
class ProxyProcess {
 public:
  // Does not wait for it to be ready.
  ProxyProcess(const netns::Namespace& where, const std::vector<std::string>& flags,
               ProxySetting setting = {});
  // Runs a modified command, such as from WithResolvConf.
  ProxyProcess(const netns::Namespace& where, const Command& command)
      : where_(where), process_(where, command) {}

  Process& process() { return process_; }
  const Process& process() const { return process_; }
  bool WaitReady();
  // The lines of the access log so far.
  std::vector<boost::json::object> Log() const;
  // How many they are, much faster.
  std::size_t LogLines() const;
  // Waits for the first line for which `matches` holds; fails the test if there is none.
  boost::json::object LogLine(const std::function<bool(const boost::json::object&)>& matches);
  boost::json::object LogLineTo(const SocketAddress& original_destination);
  // Status and body of a request for `path`; status 0 if nobody answers.
  std::pair<int, std::string> Get(std::uint16_t port, std::string_view path,
                                  std::string_view method = "GET");
  // A sample of /stats/prometheus, such as `sluice_accept_pauses_total`; -1 if it is missing.
  double Metric(std::string_view sample);
  // User and system time so far.
  std::chrono::milliseconds Cpu() const;
  // How often its threads have gone to sleep so far: a thread that is not woken uses no CPU.
  long Sleeps() const;
  int OpenDescriptors() const;
  // Descriptors that are sockets.
  int OpenSockets() const;

 private:
  const netns::Namespace& where_;
  Process process_;
};

// A client pod and a server pod, captured by sluice-init with the usual command line, each with a
// proxy.
class ProxyTest : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override;

  // Starts both proxies with the same flags and waits until they are ready.
  void StartProxies(const std::vector<std::string>& flags = {});
  void StartClientProxy(const std::vector<std::string>& flags, const ProxySetting& setting = {});
  void StartServerProxy(const std::vector<std::string>& flags, const ProxySetting& setting = {});

  const netns::Namespace& client() const { return cluster_->client(); }
  const netns::Namespace& server() const { return cluster_->server(1); }
  // The address of the server pod's application, for the family of this case.
  SocketAddress ServerAt(std::uint16_t port) const { return {Cluster::PodIp(1, GetParam()), port}; }
  // A connection through both proxies: the client's end and the server's end.
  struct Pair {
    Peer client;
    Peer server;
  };
  std::optional<Pair> Connected(Acceptor& acceptor);

  // Limits the buffers of TCP sockets in a namespace; by default they grow to several MiB, and
  // stalled connections fill the machine's memory before the proxy has to buffer anything.
  static void LimitSocketBuffers(const netns::Namespace& where, std::size_t receive_bytes,
                                 std::size_t send_bytes);

  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<ProxyProcess> client_proxy_;
  std::unique_ptr<ProxyProcess> server_proxy_;
};

// "v4", "v6".
std::string FamilyName(const testing::TestParamInfo<Family>& info);

// Text of a JSON field; "" when it is missing.
std::string Text(const boost::json::object& object, std::string_view name);

}  // namespace sluice::testing_support
