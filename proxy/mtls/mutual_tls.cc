// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/mtls/mutual_tls.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <iterator>
#include <string_view>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/text/utc_time.h"
#include "tls/credential_files.h"

namespace sluice::proxy {
namespace {

using SystemClock = std::chrono::system_clock;

// Where changes are no events. Certificates live an hour at the least, and are replaced long before
// their end. A look is some twenty system calls.
constexpr std::chrono::milliseconds kLookEvery{1000};
// After a change, for the writer's other files: also the most that somebody who writes beside them
// all the time makes us look.
constexpr std::chrono::milliseconds kSettle{100};
// Even if nothing happens: for what is no event, such as a mount over the directory, and because
// the machine's clock may have been set or stood still.
constexpr std::chrono::hours kLongestRest{1};

constexpr const char* kReadRules = "read the rules of outbound mutual TLS";

std::int64_t UnixSeconds(SystemClock::time_point time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

std::vector<std::string> Joined(std::vector<std::string> out,
                                const std::vector<std::string>& more) {
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

// When so little is left of a certificate that there should be another: whoever writes them does so
// when half or two thirds of its time are over.
SystemClock::time_point SoonEnding(const tls::Credentials& own) {
  return own.not_after() - (own.not_after() - own.not_before()) / 10;
}

// All that credentials are read from, whichever layout they have.
std::vector<std::string> FilesOf(const tls::CredentialSource& source) {
  // The symbolic link that Kubernetes turns to a new version is followed.
  std::vector<std::string> out = {source.directory + "/..data"};
  for (const tls::CredentialLayout& layout : tls::kCredentialLayouts) {
    for (const std::string_view name : {layout.chain, layout.key, layout.roots}) {
      out.push_back(source.directory + "/" + std::string(name));
    }
  }
  for (const tls::TrustBundle& bundle : source.bundles) out.push_back(bundle.file);
  return out;
}

}  // namespace

MutualTls::Watched::Watched(std::vector<std::string> all)
    // Before they are read: what changes meanwhile is seen by the next look.
    : paths(std::move(all)), seen(States()) {}

MutualTls::MutualTls(MtlsConfig config)
    : config_(std::move(config)),
      why_no_ktls_(config_.ktls ? tls::WhyNoKernelRecords() : "--ktls off"),
      allowed_(config_.allow.empty()
                   ? nullptr
                   : std::make_shared<const std::vector<tls::SpiffePattern>>(config_.allow)),
      credential_files_(FilesOf(config_.credentials)),
      outbound_file_(config_.outbound_file.empty()
                         ? std::vector<std::string>{}
                         : std::vector<std::string>{config_.outbound_file}),
      watch_(Joined(credential_files_.paths, outbound_file_.paths)),
      store_(config_.credentials, SystemClock::now()),
      context_(MakeContext(store_.Current())),
      outbound_(std::make_shared<const OutboundPolicy>()),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!stop_) throw SystemError(errno, "make an eventfd");
  if (!config_.outbound_file.empty()) {
    outbound_text_ = tls::ReadSmallFile(config_.outbound_file, kReadRules);
    outbound_ = std::make_shared<const OutboundPolicy>(
        OutboundPolicy::Parse(outbound_text_, config_.outbound_file));
  }
  const tls::Credentials& own = context_->credentials();
  spdlog::info("mutual TLS as {}, by the files of {}, valid until {}", own.id().ToString(),
               own.writer(), UtcTime(own.not_after()));
  if (why_no_ktls_.empty()) {
    spdlog::info("kTLS: the kernel encrypts and decrypts for established connections of TLS 1.3");
  } else {
    spdlog::info("no kTLS: {}", why_no_ktls_);
  }
  WarnOfExpiry();
}

MutualTls::~MutualTls() {
  if (!thread_.joinable()) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

void MutualTls::Start() {
  thread_ = std::thread([this] { Run(); });
}

void MutualTls::Run() {
  bool watched = true;
  do {
    if (std::exchange(watched, watch_.Arm()) && !watched) {
      spdlog::info("the files of mutual TLS are looked at once a second: {}", watch_.why());
    }
    Look();
  } while (Wait(watched));
}

bool MutualTls::Wait(bool watched) const {
  const bool rests = watched && !credential_files_.is_unsettled() && !outbound_file_.is_unsettled();
  const std::chrono::milliseconds time = rests ? Rest() : kLookEvery;
  pollfd wakers[] = {{.fd = stop_.get(), .events = POLLIN, .revents = 0},
                     {.fd = watch_.fd(), .events = POLLIN, .revents = 0}};
  ::poll(wakers, std::size(wakers), static_cast<int>(time.count()));
  if (wakers[0].revents == 0 && wakers[1].revents != 0) {
    ::poll(wakers, 1, static_cast<int>(kSettle.count()));
  }
  return wakers[0].revents == 0;
}

std::chrono::milliseconds MutualTls::Rest() const {
  const tls::Credentials& own = context_->credentials();
  const SystemClock::time_point now = SystemClock::now();
  std::chrono::milliseconds out = kLongestRest;
  for (const SystemClock::time_point warning : {SoonEnding(own), own.not_after()}) {
    // Rounded up: a moment early nothing would be said.
    if (warning > now)
      out = std::min<std::chrono::milliseconds>(
          out, std::chrono::ceil<std::chrono::seconds>(warning - now));
  }
  return out;
}

std::vector<MutualTls::FileState> MutualTls::Watched::States() const {
  std::vector<FileState> out;
  for (const std::string& path : paths) {
    struct stat info {};
    FileState state{};
    if (::stat(path.c_str(), &info) == 0) {
      state = {static_cast<std::int64_t>(info.st_dev),
               static_cast<std::int64_t>(info.st_ino),
               info.st_size,
               info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec,
               info.st_ctim.tv_sec * 1'000'000'000 + info.st_ctim.tv_nsec,
               1};
    }
    out.push_back(state);
  }
  return out;
}

template <typename Load>
void MutualTls::LookAt(Watched& files, const char* what, const Load& load) {
  std::vector<FileState> now = files.States();
  const bool changed = now != files.seen;
  files.seen = std::move(now);
  // Once more after a change: the clock of files is coarse, and what was written right behind what
  // was read may have left no trace. And as long as it fails: a certificate may not be valid yet.
  const bool changed_lately = std::exchange(files.changed_lately, changed);
  if (!changed && !changed_lately && files.last_failure.empty()) return;
  std::string why;
  try {
    why = load();
  } catch (const std::exception& error) {
    why = error.what();
  }
  // A writer may be between two files; the next look tells.
  if (!why.empty() && changed) return;
  // Said once, however often it is tried.
  if (!why.empty() && why != files.last_failure) {
    ++files.failed;
    spdlog::error("the {} of before stay: {}", what, why);
  }
  files.last_failure = std::move(why);
}

void MutualTls::Look() {
  LookAt(credential_files_, "credentials", [this] { return LoadCredentials(); });
  LookAt(outbound_file_, "rules of outbound mutual TLS", [this] { return LoadOutbound(); });
  WarnOfExpiry();
}

std::shared_ptr<const tls::Context> MutualTls::MakeContext(
    std::shared_ptr<const tls::Credentials> credentials) const {
  return std::make_shared<const tls::Context>(
      std::move(credentials), nullptr, config_.oldest_tls,
      why_no_ktls_.empty() ? tls::Records::kKernel : tls::Records::kLibrary);
}

std::string MutualTls::LoadCredentials() {
  tls::CredentialStore::Reloaded reloaded = store_.Reload(SystemClock::now());
  std::shared_ptr<const tls::Credentials> current = store_.Current();
  if (current.get() != &context_->credentials()) {
    std::shared_ptr<const tls::Context> context = MakeContext(std::move(current));
    ++credential_files_.reloads;
    {
      const std::scoped_lock lock(mutex_);
      context_.swap(context);
    }
    const tls::Credentials& own = context_->credentials();
    spdlog::info("new credentials: mutual TLS as {}, valid until {}", own.id().ToString(),
                 UtcTime(own.not_after()));
  }
  return std::move(reloaded.why);
}

std::string MutualTls::LoadOutbound() {
  std::string text = tls::ReadSmallFile(config_.outbound_file, kReadRules);
  if (text == outbound_text_) return {};
  auto policy =
      std::make_shared<const OutboundPolicy>(OutboundPolicy::Parse(text, config_.outbound_file));
  const std::size_t rules = policy->rules().size();
  outbound_text_ = std::move(text);
  ++outbound_file_.reloads;
  {
    const std::scoped_lock lock(mutex_);
    outbound_.swap(policy);
  }
  spdlog::info("new rules of outbound mutual TLS: {}", rules);
  return {};
}

void MutualTls::WarnOfExpiry() {
  const tls::Credentials& own = context_->credentials();
  const SystemClock::time_point now = SystemClock::now();
  const std::int64_t end = UnixSeconds(own.not_after());
  if (now >= own.not_after()) {
    if (std::exchange(has_ended_, end) == end) return;
    spdlog::error("the own certificate has ended at {}: no peer accepts it any more",
                  UtcTime(own.not_after()));
  } else if (now >= SoonEnding(own)) {
    if (std::exchange(ends_soon_, end) == end) return;
    spdlog::warn("the own certificate ends at {}, and there is no new one yet",
                 UtcTime(own.not_after()));
  }
}

std::shared_ptr<const tls::Context> MutualTls::Context() const {
  const std::scoped_lock lock(mutex_);
  return context_;
}

MtlsInbound MutualTls::Inbound(std::uint16_t port) const {
  const auto has_port = [&](const PortRange& range) { return range.Contains(port); };
  return std::ranges::any_of(config_.inbound_plaintext_ports, has_port) ? MtlsInbound::kOff
                                                                        : config_.inbound;
}

std::shared_ptr<const OutboundPeer> MutualTls::Expected(const SocketAddress& destination) const {
  if (config_.outbound_file.empty()) return nullptr;
  const std::shared_ptr<const OutboundPolicy> policy = [this] {
    const std::scoped_lock lock(mutex_);
    return outbound_;
  }();
  const OutboundRule* const rule = policy->Find(destination);
  return rule == nullptr ? nullptr : rule->peer;
}

MutualTls::Facts MutualTls::facts() const {
  return {.expiry_unix_seconds = UnixSeconds(Context()->credentials().not_after()),
          .ktls = why_no_ktls_.empty(),
          .credentials = credential_files_.loads(),
          .outbound = outbound_file_.loads()};
}

}  // namespace sluice::proxy
