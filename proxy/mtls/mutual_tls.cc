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
#include <string_view>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/error.h"
#include "tls/credential_files.h"

namespace sluice::proxy {
namespace {

using SystemClock = std::chrono::system_clock;

// Certificates live an hour at the least, and are replaced long before their end. A look is some
// twenty system calls.
constexpr std::chrono::milliseconds kLookEvery{1000};

std::int64_t UnixSeconds(SystemClock::time_point time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

// 2026-11-26T19:20:00Z
std::string TimeText(SystemClock::time_point time) {
  const std::time_t seconds = SystemClock::to_time_t(time);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text.data(), size};
}

// All that credentials are read from, whichever layout they have.
std::vector<std::string> FilesOf(const tls::CredentialSource& source) {
  // The symbolic link that Kubernetes turns to a new version is followed.
  std::vector<std::string> out = {source.directory, source.directory + "/..data"};
  for (const tls::CredentialLayout& layout : tls::kCredentialLayouts) {
    for (const std::string_view name : {layout.chain, layout.key, layout.roots}) {
      out.push_back(source.directory + "/" + std::string(name));
    }
  }
  for (const tls::TrustBundle& bundle : source.bundles) out.push_back(bundle.file);
  return out;
}

}  // namespace

MutualTls::MutualTls(MtlsConfig config)
    : config_(std::move(config)),
      allowed_(std::make_shared<const std::vector<tls::SpiffePattern>>(config_.allow)),
      watched_(FilesOf(config_.credentials)),
      // Before they are read: what changes meanwhile is seen by the next look.
      seen_(FileStates()),
      store_(config_.credentials, SystemClock::now()),
      context_(std::make_shared<const tls::Context>(store_.Current())),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!stop_) throw SystemError(errno, "make an eventfd");
  const tls::Credentials& own = context_->credentials();
  spdlog::info("mutual TLS as {}, by the files of {}, valid until {}", own.id().ToString(),
               own.writer(), TimeText(own.not_after()));
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
  pollfd stop{.fd = stop_.get(), .events = POLLIN, .revents = 0};
  while (::poll(&stop, 1, static_cast<int>(kLookEvery.count())) <= 0) Look();
}

std::vector<MutualTls::FileState> MutualTls::FileStates() const {
  std::vector<FileState> out;
  for (const std::string& path : watched_) {
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

void MutualTls::Look() {
  std::vector<FileState> now = FileStates();
  const bool changed = now != seen_;
  seen_ = std::move(now);
  // Once more after a change: the clock of files is coarse, and what was written right behind what
  // was read may have left no trace.
  const bool changed_lately = std::exchange(changed_lately_, changed);
  // As long as it fails, too: a certificate may not be valid yet.
  if (changed || changed_lately || !last_failure_.empty()) Reload(!changed);
  WarnOfExpiry();
}

void MutualTls::Reload(bool settled) {
  std::string why;
  try {
    const tls::CredentialStore::Reloaded reloaded = store_.Reload(SystemClock::now());
    why = reloaded.why;
    std::shared_ptr<const tls::Credentials> current = store_.Current();
    if (current.get() != &context_->credentials()) {
      auto context = std::make_shared<const tls::Context>(std::move(current));
      ++reloads_;
      {
        const std::scoped_lock lock(mutex_);
        context_.swap(context);
      }
      const tls::Credentials& own = context_->credentials();
      spdlog::info("new credentials: mutual TLS as {}, valid until {}", own.id().ToString(),
                   TimeText(own.not_after()));
    }
  } catch (const std::exception& error) {
    why = error.what();
  }
  // A writer may be between two files; the next look tells.
  if (!why.empty() && !settled) return;
  // Said once, however often it is tried.
  if (!why.empty() && why != last_failure_) {
    ++failed_reloads_;
    spdlog::error("the credentials of before stay: {}", why);
  }
  last_failure_ = std::move(why);
}

void MutualTls::WarnOfExpiry() {
  const tls::Credentials& own = context_->credentials();
  const SystemClock::time_point now = SystemClock::now();
  const std::int64_t end = UnixSeconds(own.not_after());
  if (now >= own.not_after()) {
    if (std::exchange(has_ended_, end) == end) return;
    spdlog::error("the own certificate has ended at {}: no peer accepts it any more",
                  TimeText(own.not_after()));
  } else if (own.not_after() - now < (own.not_after() - own.not_before()) / 10) {
    // Whoever writes them does so when half or two thirds of that time are over.
    if (std::exchange(ends_soon_, end) == end) return;
    spdlog::warn("the own certificate ends at {}, and there is no new one yet",
                 TimeText(own.not_after()));
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

MutualTls::Facts MutualTls::facts() const {
  return {.expiry_unix_seconds = UnixSeconds(Context()->credentials().not_after()),
          .reloads = reloads_,
          .failed_reloads = failed_reloads_};
}

}  // namespace sluice::proxy
