// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/proxy.h"

#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/os/resolv_conf.h"
#include "base/os/signals_blocked.h"
#include "base/unique_fd.h"
#include "proxy/accept/sockets.h"
#include "proxy/cgroup_limits.h"
#include "proxy/control/metrics.h"
#include "proxy/relay/relay.h"

namespace sluice::proxy {
namespace {

// Descriptors not used for connections: listeners, epoll, pipes (two each), log, control path (64
// connections), and those that the C library opens briefly.
constexpr std::uint64_t kReservedDescriptors = 128;
constexpr std::uint64_t kDescriptorsPerWorker = 48;

// A connection's share of the cgroup's memory: 19,700 bytes in the kernel for two idle sockets,
// less than 600 of our own, and what is buffered when its receiver is full. The sockets' buffers
// are not included: the kernel keeps them small when memory is short.
constexpr std::uint64_t kConnectionBytes = 20 * 1024 + RelayResources::kFrugalReadBytes;
// What TLS holds for a connection that is idle.
constexpr std::uint64_t kTlsBytes = 24 * 1024;
// The program's own memory.
constexpr std::uint64_t kReservedBytes = 4 * 1024 * 1024;
constexpr std::uint64_t kBytesPerWorker = RelayResources::kGenerousBytes;
// Always allowed: a proxy that refuses everybody is no better than one that is killed.
constexpr std::uint64_t kFewestConnections = 100;

// Raises the descriptor limit as far as allowed, and returns it.
std::uint64_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return limit.rlim_cur;
}

// How many connections fit into the memory of our cgroup. One more and the kernel would kill the
// proxy, and with it all that there are.
std::uint64_t ConnectionsInMemory(std::uint64_t workers, bool with_tls) {
  const std::optional<std::uint64_t> limit = MemoryLimitBytes();
  if (!limit) return std::numeric_limits<std::uint64_t>::max();
  // At most half: a small pod on a large machine has many workers, most of them idle.
  const std::uint64_t reserved = std::min(kReservedBytes + kBytesPerWorker * workers, *limit / 2);
  const std::uint64_t each = kConnectionBytes + (with_tls ? kTlsBytes : 0);
  return std::max((*limit - reserved) / each, kFewestConnections);
}

bool PollsBusily(const ProxyConfig& config) {
  if (config.busy_polling != BusyPolling::kAuto) return config.busy_polling == BusyPolling::kOn;
  return !CpuQuota();
}

std::uint64_t MaxConnections(const ProxyConfig& config) {
  const std::uint64_t descriptors = RaiseDescriptorLimit();
  const auto workers = static_cast<std::uint64_t>(config.concurrency);
  const std::uint64_t reserved = kReservedDescriptors + kDescriptorsPerWorker * workers;
  // Both ends of a connection.
  const std::uint64_t possible = descriptors > reserved + 2 ? (descriptors - reserved) / 2 : 1;
  // Who gives a number knows how much memory there is.
  return std::min(possible, config.max_connections == 0
                                ? ConnectionsInMemory(workers, config.mtls.enabled())
                                : config.max_connections);
}

dns::DnsForwarderOptions DnsOptions(std::uint16_t port) {
  ResolvConf configured = ReadResolvConf();
  return {.listen = dns::DnsListenAddresses(port),
          .resolvers = std::move(configured.nameservers),
          .timeout = configured.timeout,
          .attempts = configured.attempts};
}

// If one direction is full, a thirty-second remains for the other: usually some hundreds.
std::uint64_t ShareOfDirection(std::uint64_t max_connections) {
  return max_connections - max_connections / 32;
}

// Half: unanswered connects leave the other half to those that are answered. At least two: one may
// be made while the answer to the one before it is on its way.
std::uint64_t ShareOfPending(std::uint64_t max_connections) {
  return std::max<std::uint64_t>(2, max_connections / 2);
}

// `type` is SOCK_STREAM or SOCK_DGRAM.
void CheckIsFree(const SocketAddress& address, int type) {
  const bool v4 = address.ip.is_v4();
  const bool tcp = type == SOCK_STREAM;
  const UniqueFd fd(::socket(v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0));
  if (!fd) return;  // reported when the port is used
  const int on = 1;
  // For connections in TIME_WAIT; for a datagram socket it would allow sharing.
  if (tcp) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (!v4) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  sockaddr_storage storage;
  const socklen_t length = ToSockaddr(address, storage);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&storage), length) == 0) return;
  if (errno != EADDRINUSE) return;
  throw SystemError(
      EADDRINUSE, tcp ? "listen" : "listen for datagrams",
      std::string(Name(address.ip.family())) + " port " + std::to_string(address.port),
      std::string(tcp ? "`ss -ltnp`" : "`ss -lunp`") +
          " names the process that does; --hand-over takes the ports of a "
          "sluice-proxy over");
}

HttpResponse NotFound() { return {.status = 404, .body = "not found\n"}; }

bool IsGet(const HttpRequest& request) {
  return request.method == "GET" || request.method == "HEAD";
}

}  // namespace

void CheckPortsAreFree(const ProxyConfig& config) {
  for (const std::uint16_t port : {config.outbound_port, config.inbound_port, config.status_port,
                                   config.metrics_port, config.admin_port}) {
    if (port == 0) continue;
    for (const char* const any : {"0.0.0.0", "::"}) {
      CheckIsFree({IpAddress::Parse(any), port}, SOCK_STREAM);
    }
  }
  if (config.dns_port == 0) return;
  for (const SocketAddress& address : dns::DnsListenAddresses(config.dns_port)) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) CheckIsFree(address, type);
  }
}

namespace {

// Distributes the sockets of another proxy, which may have had a different number of workers. No
// socket may be left over: its connections would wait in vain.
std::vector<std::vector<GivenListener>> ShareOut(std::vector<UniqueFd> given,
                                                 const ProxyConfig& config) {
  const auto workers = static_cast<std::size_t>(config.concurrency);
  std::vector<std::vector<GivenListener>> out(workers);
  std::array<std::size_t, 4> next{};  // for each direction and family
  for (UniqueFd& fd : given) {
    const SocketAddress address = LocalAddress(fd.get());
    const bool outbound = address.port == config.outbound_port;
    if (!outbound && address.port != config.inbound_port) continue;
    const Family family = address.ip.family();
    std::size_t& turn = next[(outbound ? 0U : 2U) + (family == Family::kIpv4 ? 0U : 1U)];
    out[turn++ % workers].push_back(
        {.fd = std::move(fd),
         .family = family,
         .direction = outbound ? Direction::kOutbound : Direction::kInbound});
  }
  return out;
}

}  // namespace

Proxy::Proxy(ProxyConfig config, std::vector<UniqueFd> given)
    : config_(std::move(config)), stats_(config_.concurrency, config_.http.enabled()) {
  // splice(2) has no MSG_NOSIGNAL.
  std::signal(SIGPIPE, SIG_IGN);
  // All signals go to the thread that calls Proxy's functions; new threads inherit the mask.
  const SignalsBlocked blocked;
  drain_asked_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!drain_asked_) throw SystemError(errno, "make an eventfd");
  if (!config_.access_log.empty()) {
    log_ = std::make_unique<LogWriter>(config_.access_log, config_.concurrency);
  }
  if (config_.mtls.enabled()) mtls_ = std::make_unique<MutualTls>(config_.mtls);
  if (config_.admin_port != 0) {
    history_ = std::make_unique<History>(config_.concurrency, History::Clock::now());
  }
  const std::uint64_t max_connections = MaxConnections(config_);
  shared_ = std::make_unique<WorkerShared>(
      WorkerShared{.config = config_,
                   .stats = stats_,
                   .workers = workers_,
                   .log = log_.get(),
                   .own_sockets = own_sockets_,
                   .own_ports = {config_.outbound_port, config_.inbound_port},
                   .max_connections = max_connections,
                   .max_of_direction = ShareOfDirection(max_connections),
                   .max_pending = ShareOfPending(max_connections),
                   .busy_poll = PollsBusily(config_),
                   .handed_over = handed_over_,
                   .history = history_.get(),
                   .mtls = mtls_.get()});
  std::vector<std::vector<GivenListener>> shares = ShareOut(std::move(given), config_);
  for (int i = 0; i < config_.concurrency; ++i) {
    workers_.push_back(
        std::make_unique<Worker>(*shared_, i, std::move(shares[static_cast<std::size_t>(i)])));
    has_ipv6_ = has_ipv6_ && workers_.back()->has_ipv6();
  }
  if (config_.dns_port != 0) {
    dns::DnsForwarderOptions options = DnsOptions(config_.dns_port);
    dns_resolvers_ = options.resolvers;
    dns_ = std::make_unique<dns::DnsForwarder>(std::move(options));
    dns_->Listen();
    shared_->own_ports.push_back(config_.dns_port);
  }
  http_ = std::make_unique<HttpServers>();
  if (config_.status_port != 0) {
    http_->Listen(config_.status_port, false,
                  [this](const HttpRequest& request) { return ServeStatus(request); });
  }
  if (config_.metrics_port != 0) {
    http_->Listen(config_.metrics_port, false,
                  [this](const HttpRequest& request) { return ServeMetrics(request); });
  }
  if (config_.admin_port != 0) {
    // Through the inbound side it would be reachable from outside.
    shared_->own_ports.push_back(config_.admin_port);
    http_->Listen(config_.admin_port, true,
                  [this, backend = Backend()](const HttpRequest& request) {
                    return ServeAdmin(request, backend);
                  });
  }
}

std::vector<ConnectionInfo> Proxy::Connections() {
  std::vector<ConnectionInfo> out;
  for (const auto& worker : workers_) {
    std::vector<ConnectionInfo> part = worker->Connections();
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

Proxy::~Proxy() {
  // The servers' handlers use the workers.
  http_.reset();
  for (const auto& worker : workers_) worker->Stop();
  // They ask one another for room.
  for (const auto& worker : workers_) worker->Join();
  workers_.clear();
}

void Proxy::Start() {
  const SignalsBlocked blocked;
  if (log_) log_->Start();
  if (mtls_) mtls_->Start();
  for (const auto& worker : workers_) worker->Start();
  if (dns_) dns_->Start();
  phase_ = Phase::kServing;
  http_->Start();
}

std::vector<int> Proxy::Listeners() const {
  std::vector<int> out;
  for (const auto& worker : workers_) worker->AppendListeners(out);
  return out;
}

void Proxy::Drain() {
  Phase expected = Phase::kServing;
  if (!phase_.compare_exchange_strong(expected, Phase::kDraining)) return;
  for (const auto& worker : workers_) {
    worker->CloseListeners(Direction::kInbound);
    // The application's next connections go to the other proxy.
    if (handed_over_) worker->CloseListeners(Direction::kOutbound);
  }
}

bool Proxy::Drained() {
  const Phase phase = phase_;
  if (phase == Phase::kDraining && Listening(Direction::kInbound) == 0 && active() == 0) {
    phase_ = Phase::kClosingOutbound;
    for (const auto& worker : workers_) worker->CloseListeners(Direction::kOutbound);
  }
  return phase == Phase::kClosingOutbound && Listening(Direction::kOutbound) == 0 && active() == 0;
}

void Proxy::ReopenLog() {
  if (log_) log_->Reopen();
}

int Proxy::Listening(Direction direction) const {
  int sum = 0;
  for (const auto& worker : workers_) sum += worker->listening(direction);
  return sum;
}

bool Proxy::Ready() const {
  return phase_ == Phase::kServing && Listening(Direction::kOutbound) > 0 &&
         Listening(Direction::kInbound) > 0;
}

HttpResponse Proxy::ServeStatus(const HttpRequest& request) const {
  if (request.path != "/healthz/ready") return NotFound();
  if (!IsGet(request)) return {.status = 405, .body = "GET only\n"};
  if (Ready()) return {.status = 200, .body = "ready\n"};
  return {.status = 503, .body = phase_ == Phase::kStarting ? "starting\n" : "draining\n"};
}

AdminBackend Proxy::Backend() {
  return {.config = &config_,
          .dns_resolvers = dns_resolvers_,
          .stats = &stats_,
          .history = history_.get(),
          .facts = [this] { return Facts(); },
          .metrics = [this] { return Metrics(); },
          .connections = [this] { return Connections(); },
          // Do not signal ourselves: together with the signal that ends the process it would count
          // as the second one, and end it at once.
          .drain =
              [this] {
                is_drain_asked_ = true;
                const std::uint64_t one = 1;
                [[maybe_unused]] const auto written =
                    ::write(drain_asked_.get(), &one, sizeof(one));
              },
          .token = config_.admin_token};
}

PageFacts Proxy::Facts() const {
  const Phase phase = phase_;
  return {
      .version = config_.version,
      .commit = config_.commit,
      .state = phase == Phase::kStarting  ? "starting"
               : phase == Phase::kServing ? "serving"
                                          : "draining",
      .start_unix_ms =
          std::chrono::duration_cast<std::chrono::milliseconds>(start_.time_since_epoch()).count(),
      .max_connections = max_connections()};
}

std::string Proxy::Metrics() const {
  const Phase phase = phase_;
  return PrometheusText(
      stats_,
      {.version = config_.version,
       .commit = config_.commit,
       .access_log_dropped = log_ ? log_->dropped() : 0,
       .max_connections = max_connections(),
       .draining = phase == Phase::kDraining || phase == Phase::kClosingOutbound,
       .start_unix_seconds = std::chrono::duration<double>(start_.time_since_epoch()).count(),
       .dns = dns_ ? std::optional(dns_->stats()) : std::nullopt,
       .mtls = mtls_ ? std::optional(mtls_->facts()) : std::nullopt});
}

HttpResponse Proxy::ServeMetrics(const HttpRequest& request) const {
  if (request.path != "/stats/prometheus") return NotFound();
  if (!IsGet(request)) return {.status = 405, .body = "GET only\n"};
  return {
      .status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8", .body = Metrics()};
}

}  // namespace sluice::proxy
