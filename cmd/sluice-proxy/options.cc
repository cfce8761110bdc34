// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-proxy/options.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/duration.h"
#include "base/error.h"
#include "base/parse.h"
#include "base/pod_contract.h"
#include "base/unique_fd.h"
#include "cmd/sluice-proxy/certificate.h"
#include "cmd/sluice-proxy/flag.h"
#include "proxy/cgroup_limits.h"

namespace sluice::proxy {
namespace {

constexpr std::string_view kEnvironmentPrefix = "SLUICE_PROXY_";

// More threads than this must be a typing error.
constexpr std::uint64_t kMaxConcurrency = 1024;
// 30 days: longer than any useful connection.
constexpr std::chrono::hours kLongestDuration{720};

int UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::uint16_t Port(std::string_view text) {
  return static_cast<std::uint16_t>(ParseNumber(text, 1, 65535));
}

std::uint16_t PortOrOff(std::string_view text) {
  return static_cast<std::uint16_t>(ParseNumber(text, 0, 65535));
}

std::chrono::milliseconds Duration(std::string_view text) {
  return ParseDuration(text, kLongestDuration);
}

bool Switch(std::string_view text) { return text.empty() || ParseBool(text); }

IpAddress Upstream(std::string_view text) {
  const IpAddress address = IpAddress::Parse(text);
  if (address.IsUnspecified() || address.IsMulticast()) {
    throw std::invalid_argument("the address of this host on which the application listens");
  }
  return address;
}

InboundMode Mode(std::string_view text) {
  if (text == "REDIRECT") return InboundMode::kRedirect;
  if (text == "TPROXY") return InboundMode::kTproxy;
  throw std::invalid_argument("REDIRECT or TPROXY");
}

std::uint32_t TproxyMark(std::string_view text) {
  const auto mark = static_cast<std::uint32_t>(ParseNumber(text, 1, 0xffffffff));
  if (mark == pod::kOutboundMark) {
    throw std::invalid_argument("another mark than 1338, which marks outbound connections");
  }
  return mark;
}

bool OnOff(std::string_view text) {
  try {
    return ParseBool(text);
  } catch (const std::invalid_argument&) {
    throw std::invalid_argument("on or off");
  }
}

// For enumerations with these three values.
template <typename Value>
Value AutoOnOff(std::string_view text) {
  for (const Value each : {Value::kAuto, Value::kOn, Value::kOff}) {
    if (text == Name(each)) return each;
  }
  try {
    return ParseBool(text) ? Value::kOn : Value::kOff;
  } catch (const std::invalid_argument&) {
    throw std::invalid_argument("auto, on or off");
  }
}

std::string AccessLog(std::string_view text) {
  if (text.empty()) throw std::invalid_argument("a path, - for standard output, or off");
  if (text == "off") return {};
  // Used in mesh configurations; opening it as a path fails when root created the pipe.
  if (text == "/dev/stdout") return "-";
  return std::string(text);
}

// The contents of a file, without surrounding white space.
std::string Token(std::string_view path) {
  // Do not wait for a writer, and do not read devices.
  const UniqueFd fd(::open(std::string(path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) {
    throw std::invalid_argument("a file that can be read: " + std::string(std::strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) throw std::invalid_argument("a regular file");
  // Longer than any token, but shorter than the limit of a request's header.
  std::array<char, 4096> buffer{};
  const ssize_t size = ::read(fd.get(), buffer.data(), buffer.size());
  std::string_view token(buffer.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  constexpr std::string_view kBlank = " \t\r\n";
  token.remove_prefix(std::min(token.find_first_not_of(kBlank), token.size()));
  token = token.substr(0, token.find_last_not_of(kBlank) + 1);
  const bool is_visible = std::ranges::all_of(token, [](char c) { return c > ' ' && c < 0x7f; });
  if (token.empty() || !is_visible || size == std::ssize(buffer)) {
    throw std::invalid_argument("a file with one line of visible ASCII characters, the token");
  }
  return std::string(token);
}

std::string LogLevel(std::string_view text) {
  constexpr std::array<std::string_view, 6> kLevels = {"trace", "debug", "info",
                                                       "warn",  "error", "off"};
  if (std::ranges::find(kLevels, text) == kLevels.end()) {
    throw std::invalid_argument("trace, debug, info, warn, error or off");
  }
  return std::string(text);
}

HttpMode Http(std::string_view text) {
  if (text == "off") return HttpMode::kOff;
  if (text == "auto") return HttpMode::kAuto;
  throw std::invalid_argument("off or auto");
}

HttpHeaderSet HttpHeaderGroups(std::string_view text) {
  if (text == "all") return HttpHeaderSet::All();
  HttpHeaderSet set;
  if (text == "none") return set;
  const std::vector<std::string_view> words = SplitList(text);
  if (words.empty()) throw std::invalid_argument("at least one");
  for (const std::string_view word : words) {
    const auto* const found = std::ranges::find(kHttpHeaderNames, word, &HttpHeaderName::name);
    if (found == std::end(kHttpHeaderNames)) {
      throw std::invalid_argument(
          "request-id, tracing, forwarded-proto, attempt-count, server, service-time, all or none");
    }
    set.Add(found->group);
  }
  return set;
}

const std::vector<Flag>& ProxyFlags() {
  static const std::vector<Flag> flags = {
      {"outbound-port", "PORT", "where outbound connections are redirected to (15001)",
       [](Options& o, std::string_view v) { o.config.outbound_port = Port(v); }},
      {"inbound-port", "PORT", "where inbound connections are redirected to (15006)",
       [](Options& o, std::string_view v) { o.config.inbound_port = Port(v); }},
      {"concurrency", "N",
       "worker threads (as many as there are usable CPUs, or as a CPU quota has time for)",
       [](Options& o, std::string_view v) {
         o.config.concurrency = static_cast<int>(ParseNumber(v, 1, kMaxConcurrency));
       }},
      {"mode", "REDIRECT|TPROXY",
       "how inbound connections are captured (REDIRECT); with TPROXY the application sees the "
       "client's own address, which needs CAP_NET_ADMIN",
       [](Options& o, std::string_view v) { o.config.inbound_mode = Mode(v); }},
      {"tproxy-mark", "MARK",
       "with --mode TPROXY, marks connections to the application as sluice-init -t does (1337)",
       [](Options& o, std::string_view v) { o.config.tproxy_mark = TproxyMark(v); }},
      {"inbound-proxy-protocol", nullptr,
       "tell the application the client's address by a PROXY protocol v2 header",
       [](Options& o, std::string_view v) { o.config.inbound_proxy_protocol = Switch(v); }},
      {"sniff", "on|off",
       "read the TLS server name, or the HTTP/1 request and status, off the first bytes for the "
       "access log (on)",
       [](Options& o, std::string_view v) { o.config.sniff = OnOff(v); }},
      {"splice", "auto|on|off",
       "move bytes by splice(2): those of bulk transfers (auto), all that --sniff does not look "
       "at, or none",
       [](Options& o, std::string_view v) { o.config.splicing = AutoOnOff<Splicing>(v); }},
      {"busy-poll", "auto|on|off",
       "wait up to 50 us awake for the next message of a lone connection: unless a cgroup "
       "rations CPU time (auto), always, or never",
       [](Options& o, std::string_view v) { o.config.busy_polling = AutoOnOff<BusyPolling>(v); }},
      {"inbound-upstream", "ADDRESS",
       "connect inbound connections to this address, for applications that listen on 127.0.0.1 "
       "only (their original destination); every loopback port can then be reached from outside, "
       "but "
       "those that -b of sluice-init leaves out",
       [](Options& o, std::string_view v) { o.config.inbound_upstream = Upstream(v); }},
      {"connect-timeout", "DURATION", "give up connecting to a destination after this (10s)",
       [](Options& o, std::string_view v) { o.config.connect_timeout = Timeout(v); }},
      {"idle-timeout", "DURATION", "reset a connection that is silent for this long (1h)",
       [](Options& o, std::string_view v) { o.config.idle_timeout = Timeout(v); }},
      {"half-closed-timeout", "DURATION",
       "reset a connection that is silent for this long after one side has ended (as "
       "--idle-timeout)",
       [](Options& o, std::string_view v) { o.config.half_closed_timeout = Timeout(v); }},
      {"drain-duration", "DURATION",
       "after SIGTERM, let connections finish for this long (45s); 0 resets them at once",
       [](Options& o, std::string_view v) { o.drain_duration = Duration(v); }},
      {"max-connections", "N",
       "refuse more at once (as many as the limits of descriptors and memory allow)",
       [](Options& o, std::string_view v) {
         o.config.max_connections = static_cast<std::uint32_t>(ParseNumber(v, 1, 100'000'000));
       }},
      {"access-log", "PATH", "one JSON line per connection; - is standard output, off is none (-)",
       [](Options& o, std::string_view v) { o.config.access_log = AccessLog(v); }},
      {"status-port", "PORT", "serves /healthz/ready (15020); 0 switches it off",
       [](Options& o, std::string_view v) { o.config.status_port = PortOrOff(v); }},
      {"metrics-port", "PORT", "serves /stats/prometheus (15090); 0 switches it off",
       [](Options& o, std::string_view v) { o.config.metrics_port = PortOrOff(v); }},
      {"admin-port", "PORT",
       "serves a page for people (/), and /config_dump, /connections, /drain, /logging and /stats "
       "on loopback (15000); 0 "
       "switches it off",
       [](Options& o, std::string_view v) { o.config.admin_port = PortOrOff(v); }},
      {"admin-token-file", "PATH",
       "serve the admin port only to clients that show the token in this file: Authorization: "
       "Bearer TOKEN",
       [](Options& o, std::string_view v) { o.config.admin_token = Token(v); }},
      {"rules-graph", "PATH",
       "show this picture on the page of the admin port, which sluice-init graph --output svg "
       "--file PATH --every 5s keeps writing",
       [](Options& o, std::string_view v) { o.config.rules_graph = v; }},
      {"dns-port", "PORT",
       "answer DNS queries that sluice-init --redirect-dns captures (15053 there); 0 is off (0)",
       [](Options& o, std::string_view v) { o.config.dns_port = PortOrOff(v); }},
      {"http", "off|auto",
       "relay HTTP/1 request by request: headers of a mesh, one access-log line and metrics for "
       "each request, an answer where there would be a reset; HTTP/2 passes as it is, with lines "
       "and "
       "metrics for its requests; all else passes as it is (off)",
       [](Options& o, std::string_view v) { o.config.http.mode = Http(v); }},
      {"http-headers", "GROUP,...",
       "with --http, which headers to write: request-id, tracing, forwarded-proto, attempt-count, "
       "server and service-time, or all, or none (all)",
       [](Options& o, std::string_view v) { o.config.http.headers = HttpHeaderGroups(v); }},
      {"allow-root", nullptr, "run as uid 0, whose traffic the usual rules capture again",
       [](Options& o, std::string_view v) { o.allow_root = Switch(v); }},
      {"hand-over", nullptr,
       "take the listening sockets of the sluice-proxy of the same user that has these ports: no "
       "connection is refused or held up; it goes on beside this one until it is sent SIGTERM",
       [](Options& o, std::string_view v) { o.hand_over = Switch(v); }},
      {"stop-old", nullptr,
       "with --hand-over: tell that sluice-proxy to drain when this one is ready",
       [](Options& o, std::string_view v) { o.stop_old = Switch(v); }},
      {"seccomp", "on|off",
       "kill the process when it makes a system call that it does not need (on)",
       [](Options& o, std::string_view v) { o.seccomp = OnOff(v); }},
      {"log-level", "trace|debug|info|warn|error|off", "what to log (info)",
       [](Options& o, std::string_view v) { o.log_level = LogLevel(v); }},
  };
  return flags;
}

const std::vector<Flag>& Flags() {
  static const std::vector<Flag> flags = [] {
    std::vector<Flag> out = ProxyFlags();
    out.insert(out.end(), MtlsFlags().begin(), MtlsFlags().end());
    return out;
  }();
  return flags;
}

std::string VariableOf(std::string_view flag) {
  std::string out(kEnvironmentPrefix);
  for (const char c : flag) {
    out += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return out;
}

// Two servers cannot share a port.
void CheckPorts(const ProxyConfig& config) {
  const std::pair<const char*, std::uint16_t> ports[] = {
      {"--outbound-port", config.outbound_port}, {"--inbound-port", config.inbound_port},
      {"--status-port", config.status_port},     {"--metrics-port", config.metrics_port},
      {"--admin-port", config.admin_port},       {"--dns-port", config.dns_port}};
  for (const auto& [name, port] : ports) {
    for (const auto& [other_name, other] : ports) {
      if (name != other_name && port != 0 && port == other) {
        throw Usage("listen", std::string("port ") + std::to_string(port),
                    std::string(name) + " and " + other_name + " are the same",
                    "give each a port of its own");
      }
    }
  }
}

}  // namespace

std::chrono::milliseconds Timeout(std::string_view text) {
  const auto value = Duration(text);
  if (value.count() == 0) throw std::invalid_argument("a duration longer than 0, such as 10s");
  return value;
}

Options ParseOptions(const std::vector<std::string>& arguments, Environment environment) {
  const auto values = ReadFlags(TextsOf(Flags()), true, arguments, "read the command line");
  Options options;
  options.config.concurrency = CpusFor(CpuQuota(), UsableCpus());
  options.help = values.contains("help");
  options.version = values.contains("version");
  if (options.help || options.version) return options;
  for (const Flag& flag : Flags()) {
    if (const auto given = values.find(flag.name); given != values.end()) {
      SetFlag(flag, options, "--" + given->first, given->second);
      continue;
    }
    const std::string variable = VariableOf(flag.name);
    // In manifests, an empty variable means "not set".
    const char* const value = environment(variable.c_str());
    if (value == nullptr || *value == '\0' || IsServiceLink(variable, value)) continue;
    SetFlag(flag, options, variable, value);
  }
  CheckPorts(options.config);
  CheckMtls(options.config.mtls);
  if (options.stop_old && !options.hand_over) {
    throw Usage("stop the sluice-proxy of before", "--stop-old", "there is no --hand-over",
                "give both");
  }
  return options;
}

ProgramText DescribeProgram() {
  ProgramText out{.name = "sluice-proxy",
                  .aliases = {},
                  .commands = {{"certificate", "make certificates for trying mutual TLS out"}},
                  .groups = {}};
  OptionGroup& options = out.groups.emplace_back(Describe("Options", TextsOf(ProxyFlags())));
  options.options.push_back({"help", 'h', {}, "print this"});
  options.options.push_back({"version", 0, {}, "print the version"});
  out.groups.push_back(Describe("Mutual TLS", TextsOf(MtlsFlags())));
  out.groups.push_back(DescribeCertificate());
  return out;
}

std::string HelpText() {
  return "Usage: sluice-proxy [OPTION]...\n"
         "       sluice-proxy certificate --ca DIR [OPTION]...\n"
         "                                        a certificate for trying mutual TLS out\n"
         "       sluice-proxy completion SHELL    for bash, zsh or fish\n\n"
         "Relays the connections that sluice-init redirects to it.\n\n" +
         OptionHelp(DescribeProgram()) +
         "\nEach flag, but those of certificate, can be given as an environment variable:\n"
         "SLUICE_PROXY_ and its name in upper case with underscores, such as\n"
         "SLUICE_PROXY_IDLE_TIMEOUT=5m. A flag wins. A switch takes a value only after an\n"
         "equals sign: --hand-over=false.\n\n"
         "Examples:\n"
         "  sluice-proxy --concurrency 2 --idle-timeout 10m\n"
         "  sluice-proxy --dns-port 15053 --access-log /var/log/sluice/access.log\n"
         "  sluice-proxy --hand-over --stop-old\n"
         "          take the ports over from the running one, and let that one drain\n"
         "  sluice-proxy certificate --ca ca --directory cart --service-account cart\n\n"
         "Signals: SIGTERM or SIGINT drains, a second one ends at once; SIGHUP opens the\n"
         "access log again.\n\n"
         "Exit status: 0 ended as asked, 1 failed, 2 usage, 3 privilege (such as running\n"
         "as root), 4 kernel feature missing.\n";
}

}  // namespace sluice::proxy
