// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/netns/proxy_fixture.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "netns/sysctl.h"

namespace sluice::testing_support {
namespace {

using std::chrono::milliseconds;

UniqueFd NewSocket(const netns::Namespace& where, const Credentials& who, Family family) {
  return CallIn(where, who, [&] {
    UniqueFd fd(
        ::socket(family == Family::kIpv4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) throw std::runtime_error("cannot make a socket, errno " + std::to_string(errno));
    const timeval limit{.tv_sec = kPatience.count(), .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    return fd;
  });
}

SocketAddress NameOf(int fd, int (*get)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  return get(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0 ? FromSockaddr(address)
                                                                      : SocketAddress{};
}

// The target of each descriptor of a process, as in proc(5): "socket:[1234]".
std::vector<std::string> DescriptorsOf(pid_t pid) {
  std::vector<std::string> out;
  std::error_code ignored;  // a descriptor may be closed meanwhile
  const std::filesystem::path all = "/proc/" + std::to_string(pid) + "/fd";
  for (const auto& entry : std::filesystem::directory_iterator(all, ignored)) {
    out.push_back(std::filesystem::read_symlink(entry.path(), ignored).string());
  }
  return out;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, End end) {
  return out << (end == End::kFin ? "FIN" : end == End::kReset ? "reset" : "timeout");
}

std::optional<Peer> Peer::Connect(const netns::Namespace& where, const SocketAddress& to,
                                  const Credentials& who, std::uint16_t from_port) {
  UniqueFd fd = NewSocket(where, who, to.ip.family());
  sockaddr_storage address;
  socklen_t length = 0;
  if (from_port != 0) {
    length = ToSockaddr(
        {IpAddress::Parse(to.ip.family() == Family::kIpv4 ? "0.0.0.0" : "::"), from_port}, address);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return std::nullopt;
  }
  length = ToSockaddr(to, address);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return std::nullopt;
  return Peer(std::move(fd));
}

bool Peer::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

std::string Peer::Receive(std::size_t size) {
  std::string out(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t got = ::recv(fd_.get(), out.data() + have, size - have, 0);
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  out.resize(have);
  return out;
}

std::string Peer::ReceiveAll(End& end) {
  std::string out;
  std::vector<char> buffer(65536);
  while (true) {
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got > 0) {
      out.append(buffer.data(), static_cast<std::size_t>(got));
      continue;
    }
    end = got == 0 ? End::kFin : errno == EAGAIN ? End::kTimeout : End::kReset;
    return out;
  }
}

End Peer::WaitForEnd() {
  End end{};
  ReceiveAll(end);
  return end;
}

void Peer::EndSending() { ::shutdown(fd_.get(), SHUT_WR); }

void Peer::Reset() {
  const linger option{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &option, sizeof(option));
  fd_.reset();
}

SocketAddress Peer::Remote() const { return NameOf(fd_.get(), ::getpeername); }
SocketAddress Peer::Local() const { return NameOf(fd_.get(), ::getsockname); }

Acceptor::Acceptor(const netns::Namespace& where, Family family, std::uint16_t port,
                   std::optional<IpAddress> address)
    : fd_(NewSocket(where, kRoot, family)) {
  const int on = 1;
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_storage storage;
  const socklen_t length =
      ToSockaddr({address.value_or(IpAddress::Unspecified(family)), port}, storage);
  if (::bind(fd_.get(), reinterpret_cast<sockaddr*>(&storage), length) != 0 ||
      ::listen(fd_.get(), 4096) != 0) {
    throw std::runtime_error("cannot listen, errno " + std::to_string(errno));
  }
  port_ = NameOf(fd_.get(), ::getsockname).port;
}

std::optional<Peer> Acceptor::Accept() {
  UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd) return std::nullopt;
  // Not inherited from the listening socket.
  const timeval limit{.tv_sec = kPatience.count(), .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  return Peer(std::move(fd));
}

bool Eventually(const std::function<bool()>& condition) {
  const auto start = std::chrono::steady_clock::now();
  while (!condition()) {
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited > kPatience) return false;
    // What takes long is looked at less often, as many conditions ask the proxy for its metrics.
    std::this_thread::sleep_for(
        std::clamp<std::chrono::nanoseconds>(waited / 16, milliseconds(5), milliseconds(100)));
  }
  return true;
}

void RaiseDescriptorLimit() {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
}

void Report(std::string_view figure) {
  // In the style of GoogleTest's own lines.
  std::cout << "[   FIGURE ] " << figure << std::endl;
}

Command ProxyCommand(const std::vector<std::string>& flags, ProxySetting setting) {
  Command command{.argv = {ProgramPath("sluice-proxy")},
                  .environment = std::move(setting.environment),
                  .who = std::move(setting.who),
                  .capabilities = std::move(setting.capabilities),
                  .timeout = milliseconds(600'000),
                  .cgroup_procs = std::move(setting.cgroup_procs)};
  command.argv.insert(command.argv.end(), flags.begin(), flags.end());
  return WithSanitizer(std::move(command));
}

ProxyProcess::ProxyProcess(const netns::Namespace& where, const std::vector<std::string>& flags,
                           ProxySetting setting)
    : ProxyProcess(where, ProxyCommand(flags, std::move(setting))) {}

bool ProxyProcess::WaitReady() {
  return Eventually([&] { return Get(15020, "/healthz/ready").first == 200; });
}

std::vector<boost::json::object> ProxyProcess::Log() const {
  std::vector<boost::json::object> out;
  std::istringstream text(process_.Out());
  for (std::string line; std::getline(text, line);) {
    // The last line may be incomplete.
    if (line.ends_with('}')) out.push_back(boost::json::parse(line).as_object());
  }
  return out;
}

std::size_t ProxyProcess::LogLines() const {
  return static_cast<std::size_t>(std::ranges::count(process_.Out(), '\n'));
}

boost::json::object ProxyProcess::LogLine(
    const std::function<bool(const boost::json::object&)>& matches) {
  boost::json::object found;
  const bool there = Eventually([&] {
    for (boost::json::object& line : Log()) {
      if (!matches(line)) continue;
      found = std::move(line);
      return true;
    }
    return false;
  });
  EXPECT_TRUE(there) << "no such line in the access log:\n" << process_.Out() << process_.Err();
  return found;
}

boost::json::object ProxyProcess::LogLineTo(const SocketAddress& original_destination) {
  return LogLine([text = original_destination.ToString()](const boost::json::object& line) {
    return Text(line, "downstream_local_address") == text;
  });
}

namespace {

// The body of a message with "Transfer-Encoding: chunked".
std::string Unchunked(std::string_view chunks) {
  std::string out;
  while (true) {
    const std::size_t line = chunks.find("\r\n");
    if (line == std::string_view::npos) return out;
    const std::size_t size = std::stoul(std::string(chunks.substr(0, line)), nullptr, 16);
    if (size == 0) return out;
    out += chunks.substr(line + 2, size);
    chunks.remove_prefix(std::min(chunks.size(), line + 2 + size + 2));
  }
}

}  // namespace

std::pair<int, std::string> ProxyProcess::Get(std::uint16_t port, std::string_view path,
                                              std::string_view method) {
  // As root. The proxy's uid would do as well: an application's connections to loopback are not
  // captured either.
  auto peer = Peer::Connect(where_, {IpAddress::V4(127, 0, 0, 1), port}, kRoot);
  if (!peer) return {0, ""};
  peer->Send(std::string(method) + " " + std::string(path) +
             " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  End end{};
  const std::string answer = peer->ReceiveAll(end);
  const std::size_t body = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.1 ") || body == std::string::npos) return {0, answer};
  const bool chunked = std::string_view(answer).substr(0, body).find(
                           "Transfer-Encoding: chunked") != std::string::npos;
  return {std::stoi(answer.substr(9, 3)),
          chunked ? Unchunked(std::string_view(answer).substr(body + 4)) : answer.substr(body + 4)};
}

double ProxyProcess::Metric(std::string_view sample) {
  std::istringstream text(Get(15090, "/stats/prometheus").second);
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with(std::string(sample) + " ")) {
      return std::stod(line.substr(sample.size() + 1));
    }
  }
  return -1;
}

milliseconds ProxyProcess::Cpu() const {
  std::ifstream file("/proc/" + std::to_string(process_.pid()) + "/stat");
  std::string text;
  std::getline(file, text);
  // Fields are counted after the name, which may contain anything (proc(5)).
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string field;
  long ticks = 0;
  for (int i = 3; fields >> field && i <= 15; ++i) {
    if (i == 14 || i == 15) ticks += std::stol(field);
  }
  return milliseconds(ticks * 1000 / ::sysconf(_SC_CLK_TCK));
}

long ProxyProcess::Sleeps() const {
  long sleeps = 0;
  const std::string tasks = "/proc/" + std::to_string(process_.pid()) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    std::ifstream status(task.path() / "status");
    for (std::string word; status >> word;) {
      if (word != "voluntary_ctxt_switches:") continue;
      long count = 0;
      status >> count;
      sleeps += count;
    }
  }
  return sleeps;
}

int ProxyProcess::OpenDescriptors() const {
  return static_cast<int>(DescriptorsOf(process_.pid()).size());
}

int ProxyProcess::OpenSockets() const {
  return static_cast<int>(std::ranges::count_if(
      DescriptorsOf(process_.pid()),
      [](const std::string& target) { return target.starts_with("socket:"); }));
}

void ProxyTest::SetUp() {
  if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  cluster_ = std::make_unique<Cluster>(1);
  for (const netns::Namespace* pod : {&client(), &server()}) {
    const CommandResult result = RunCommand(
        *pod, {.argv = {ProgramPath("sluice-init"), "-p", "15001", "-z", "15006", "-u", "1337",
                        "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15020"}});
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }
}

void ProxyTest::StartProxies(const std::vector<std::string>& flags) {
  StartClientProxy(flags);
  StartServerProxy(flags);
}

void ProxyTest::StartClientProxy(const std::vector<std::string>& flags,
                                 const ProxySetting& setting) {
  client_proxy_ = std::make_unique<ProxyProcess>(client(), flags, setting);
  ASSERT_TRUE(client_proxy_->WaitReady()) << client_proxy_->process().Err();
}

void ProxyTest::StartServerProxy(const std::vector<std::string>& flags,
                                 const ProxySetting& setting) {
  server_proxy_ = std::make_unique<ProxyProcess>(server(), flags, setting);
  ASSERT_TRUE(server_proxy_->WaitReady()) << server_proxy_->process().Err();
}

std::optional<ProxyTest::Pair> ProxyTest::Connected(Acceptor& acceptor) {
  auto near = Peer::Connect(client(), ServerAt(acceptor.port()));
  if (!near) return std::nullopt;
  auto far = acceptor.Accept();
  if (!far) return std::nullopt;
  return Pair{.client = std::move(*near), .server = std::move(*far)};
}

void ProxyTest::LimitSocketBuffers(const netns::Namespace& where, std::size_t receive_bytes,
                                   std::size_t send_bytes) {
  // The minimum, default and maximum size.
  const auto sizes = [](std::size_t largest) {
    return "4096 " + std::to_string(largest / 2) + " " + std::to_string(largest);
  };
  RunIn(where, kRoot, [&] {
    netns::WriteSysctl("ipv4/tcp_rmem", sizes(receive_bytes));
    netns::WriteSysctl("ipv4/tcp_wmem", sizes(send_bytes));
  });
}

std::string FamilyName(const testing::TestParamInfo<Family>& info) {
  return info.param == Family::kIpv4 ? "v4" : "v6";
}

std::string Text(const boost::json::object& object, std::string_view name) {
  const boost::json::value* const value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

}  // namespace sluice::testing_support
