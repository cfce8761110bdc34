// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/stream/kernel_records.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "base/unique_fd.h"
#include "tls/context.h"
#include "tls/openssl.h"

namespace sluice::tls {
namespace {

using Result = Stream::Result;
using Status = Stream::Status;
using UniqueKdf = std::unique_ptr<EVP_KDF, FreeWith<EVP_KDF_free>>;
using UniqueKdfContext = std::unique_ptr<EVP_KDF_CTX, FreeWith<EVP_KDF_CTX_free>>;

constexpr int kSolTls = 282;  // SOL_TLS of linux/socket.h

// Types of records, alerts and messages (RFC 8446, sections B.1 to B.3).
constexpr std::uint8_t kAlert = 21;
constexpr std::uint8_t kHandshake = 22;
constexpr std::uint8_t kApplicationData = 23;
constexpr std::uint8_t kWarning = 1;
constexpr std::uint8_t kFatal = 2;
constexpr std::uint8_t kCloseNotify = 0;
constexpr std::uint8_t kUnexpectedMessage = 10;
constexpr std::uint8_t kBadRecordMac = 20;
constexpr std::uint8_t kUserCanceled = 90;
constexpr std::uint8_t kNewSessionTicket = 4;
constexpr std::uint8_t kKeyUpdate = 24;
constexpr std::uint32_t kAes128Gcm = 0x1301;
constexpr std::uint32_t kAes256Gcm = 0x1302;

// What a record is longer than its content: header, type and tag.
constexpr std::uint64_t kRecordOverhead = 5 + 1 + 16;
// Records that are not the application's, per call.
constexpr int kMaxOtherRecords = 16;

int AttachUlp(int fd) { return ::setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3); }

// struct tls12_crypto_info_aes_gcm_128 or _256, for either version of TLS.
template <typename Info>
bool Install(int fd, int direction, std::uint16_t cipher, const TrafficSecret& secret) {
  Info info{};
  info.info.version = TLS_1_3_VERSION;
  info.info.cipher_type = cipher;
  // The kernel has the first four bytes of the nonce apart.
  std::array<std::uint8_t, sizeof(info.salt) + sizeof(info.iv)> iv{};
  const bool done = ExpandLabel(secret, "key", info.key) && ExpandLabel(secret, "iv", iv);
  std::copy_n(iv.begin(), sizeof(info.salt), info.salt);
  std::copy_n(iv.begin() + sizeof(info.salt), sizeof(info.iv), info.iv);
  const int failed = done ? ::setsockopt(fd, kSolTls, direction, &info, sizeof(info)) : -1;
  OPENSSL_cleanse(&info, sizeof(info));
  OPENSSL_cleanse(iv.data(), iv.size());
  return failed == 0;
}

bool InstallFor(std::uint32_t cipher, int fd, int direction, const TrafficSecret& secret) {
  return cipher == kAes128Gcm
             ? Install<tls12_crypto_info_aes_gcm_128>(fd, direction, TLS_CIPHER_AES_GCM_128, secret)
             : Install<tls12_crypto_info_aes_gcm_256>(fd, direction, TLS_CIPHER_AES_GCM_256,
                                                      secret);
}

// One end of a connection over loopback to `listener`, which is made; none, and errno, if there is
// none within a second.
UniqueFd ConnectTo(UniqueFd& listener) {
  listener.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd out(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (!listener || !out || ::bind(listener.get(), generic, size) != 0 ||
      ::listen(listener.get(), 1) != 0 || ::getsockname(listener.get(), generic, &size) != 0) {
    return {};
  }
  if (::connect(out.get(), generic, size) != 0 && errno != EINPROGRESS) return {};
  pollfd connecting{.fd = out.get(), .events = POLLOUT, .revents = 0};
  if (::poll(&connecting, 1, 1000) != 1 || (connecting.revents & POLLERR) != 0) {
    errno = ETIMEDOUT;
    return {};
  }
  // Established as long as the listener lives, though nobody accepts it.
  return out;
}

// A message of sendmsg(2) or recvmsg(2) with room for the type of a record. Points into itself.
struct RecordMessage {
  RecordMessage(void* data, std::size_t size) : bytes{.iov_base = data, .iov_len = size} {
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  RecordMessage(const RecordMessage&) = delete;
  RecordMessage& operator=(const RecordMessage&) = delete;

  iovec bytes;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(1)> control{};
  msghdr header{};
};

// How many records were encrypted: the number of the next one.
std::optional<std::uint64_t> RecordsSent(int fd) {
  const auto number = [fd](auto info) -> std::optional<std::uint64_t> {
    socklen_t size = sizeof(info);
    if (::getsockopt(fd, kSolTls, TLS_TX, &info, &size) != 0) return std::nullopt;
    std::uint64_t out = 0;
    for (const unsigned char byte : info.rec_seq) out = out << 8U | byte;
    OPENSSL_cleanse(&info, sizeof(info));
    return out;
  };
  // Only the size of its own cipher is accepted.
  const auto records = number(tls12_crypto_info_aes_gcm_128{});
  return records ? records : number(tls12_crypto_info_aes_gcm_256{});
}

}  // namespace

TrafficSecret::~TrafficSecret() { OPENSSL_cleanse(bytes.data(), bytes.size()); }

void TrafficSecret::Set(std::string_view digits) {
  const auto value = [&](std::size_t at) {
    const char digit = digits[at];
    return digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
  };
  size = std::min(digits.size() / 2, bytes.size());
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::uint8_t>(value(2 * i) << 4 | value(2 * i + 1));
  }
}

bool ExpandLabel(const TrafficSecret& secret, const char* label, std::span<std::uint8_t> out) {
  static const UniqueKdf kdf(EVP_KDF_fetch(nullptr, "TLS13-KDF", nullptr));
  const UniqueKdfContext context(kdf ? EVP_KDF_CTX_new(kdf.get()) : nullptr);
  if (!context) return false;
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  char digest[] = "SHA2-256";
  char digest_of_48[] = "SHA2-384";
  char prefix[] = "tls13 ";
  std::array<std::uint8_t, 48> key = secret.bytes;
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                       secret.size == 48 ? digest_of_48 : digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key.data(), secret.size),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, prefix, sizeof(prefix) - 1),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, const_cast<char*>(label),
                                        std::strlen(label)),
      OSSL_PARAM_construct_end()};
  const int done = EVP_KDF_derive(context.get(), out.data(), out.size(), parameters);
  OPENSSL_cleanse(key.data(), key.size());
  return done == 1;
}

TakenBytes CountTaken(const std::function<std::uint64_t()>& waiting,
                      const std::function<std::uint64_t()>& confirmed) {
  TakenBytes out{.bytes = 0, .exact = false};
  std::uint64_t left = waiting();
  for (int i = 0; i < kMostLooks && !out.exact; ++i) {
    const std::uint64_t done = confirmed();
    const std::uint64_t before = std::exchange(left, waiting());
    // What was confirmed after `done` is in neither number.
    out = {.bytes = done + left, .exact = left == before};
  }
  return out;
}

std::string WhyNoKernelRecords() {
  UniqueFd listener;
  const UniqueFd socket = ConnectTo(listener);
  if (!socket) return std::string("no connection over loopback to try it: ") + std::strerror(errno);
  if (AttachUlp(socket.get()) != 0) {
    return errno == ENOENT ? "the module tls is not loaded" : std::strerror(errno);
  }
  TrafficSecret any;
  any.size = 32;
  for (const int direction : {TLS_TX, TLS_RX}) {
    if (!InstallFor(kAes128Gcm, socket.get(), direction, any)) {
      return std::string("the kernel does not take keys of AES-128-GCM: ") + std::strerror(errno);
    }
  }
  return {};
}

KernelRecords::Started KernelRecords::Start(int fd, Stream::Role role, std::uint32_t cipher,
                                            const TrafficSecret& ours,
                                            const TrafficSecret& theirs) {
  const std::size_t size = cipher == kAes128Gcm ? 32 : cipher == kAes256Gcm ? 48 : 0;
  if (size == 0 || ours.size != size || theirs.size != size) return Started::kNo;
  // Fails if the peer has already ended the connection.
  if (AttachUlp(fd) != 0) return Started::kNo;
  fd_ = fd;
  client_ = role == Stream::Role::kClient;
  const TakenBytes taken = TakenBySocket();
  // All that is counted later begins here.
  if (!taken.exact) return Started::kNo;
  taken_at_start_ = taken.bytes;
  // Without keys the socket goes on as before.
  if (!InstallFor(cipher, fd, TLS_TX, ours)) return Started::kNo;
  if (!InstallFor(cipher, fd, TLS_RX, theirs)) return Started::kBroken;
  return Started::kYes;
}

Result KernelRecords::Fail(int error) {
  if (why_.empty()) why_ = std::strerror(error);
  return {.status = Status::kFailed, .error = error};
}

Result KernelRecords::FailWith(std::string why, std::uint8_t alert) {
  // As OpenSSL does it: the peer hears it if there is room. A bad record leaves an error at the
  // socket, which would be the result of the next call.
  int pending = 0;
  socklen_t size = sizeof(pending);
  ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &pending, &size);
  SendAlert(kFatal, alert);
  why_ = std::move(why);
  return {.status = Status::kFailed, .took_input = true, .error = EPROTO};
}

std::ptrdiff_t KernelRecords::SendAlert(std::uint8_t level, std::uint8_t description) {
  std::array<std::uint8_t, 2> alert{level, description};
  RecordMessage message(alert.data(), alert.size());
  cmsghdr* const type = CMSG_FIRSTHDR(&message.header);
  type->cmsg_level = kSolTls;
  type->cmsg_type = TLS_SET_RECORD_TYPE;
  type->cmsg_len = CMSG_LEN(1);
  *CMSG_DATA(type) = kAlert;
  const ssize_t sent = ::sendmsg(fd_, &message.header, MSG_NOSIGNAL);
  if (sent > 0) plaintext_ += static_cast<std::uint64_t>(sent);
  return sent;
}

std::optional<Result> KernelRecords::OnAlert(std::span<const char> bytes) {
  for (const char byte : bytes) {
    partial_[partial_size_++] = static_cast<std::uint8_t>(byte);
    if (partial_size_ < 2) continue;
    partial_size_ = 0;
    const std::uint8_t description = partial_[1];
    if (description == kUserCanceled) continue;
    if (description == kCloseNotify) return Result{.status = Status::kEnded, .took_input = true};
    const char* const reason = ERR_reason_error_string(
        ERR_PACK(ERR_LIB_SSL, 0, SSL_AD_REASON_OFFSET + static_cast<int>(description)));
    why_ = reason != nullptr ? std::string("TLS: ") + reason : "TLS: an alert";
    refused_ = true;
    return Result{.status = Status::kFailed, .took_input = true, .error = EPROTO};
  }
  return std::nullopt;
}

std::optional<Result> KernelRecords::OnHandshake(std::span<const char> bytes) {
  while (!bytes.empty()) {
    if (skip_ > 0) {
      const std::size_t size = std::min<std::size_t>(skip_, bytes.size());
      skip_ -= static_cast<std::uint32_t>(size);
      bytes = bytes.subspan(size);
      continue;
    }
    partial_[partial_size_++] = static_cast<std::uint8_t>(bytes.front());
    bytes = bytes.subspan(1);
    if (partial_size_ < partial_.size()) continue;
    partial_size_ = 0;
    if (partial_[0] == kKeyUpdate) {
      return FailWith("TLS: the peer has changed its keys, which the kernel's TLS cannot do",
                      kUnexpectedMessage);
    }
    if (partial_[0] != kNewSessionTicket || !client_) {
      return FailWith("TLS: unexpected message", kUnexpectedMessage);
    }
    skip_ = std::uint32_t{partial_[1]} << 16U | std::uint32_t{partial_[2]} << 8U | partial_[3];
  }
  return std::nullopt;
}

Result KernelRecords::Read(std::span<char> into) {
  bool took_input = false;
  for (int records = 0; records < kMaxOtherRecords; ++records) {
    RecordMessage message(into.data(), into.size());
    const ssize_t got = ::recvmsg(fd_, &message.header, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return {.status = Status::kWaitsForInput, .took_input = took_input};
      // Not decrypted, too long, or no record at all.
      if (errno == EBADMSG || errno == EMSGSIZE || errno == EINVAL) {
        return FailWith(std::string("TLS: bad record: ") + std::strerror(errno), kBadRecordMac);
      }
      return Fail(errno);
    }
    const cmsghdr* const type = CMSG_FIRSTHDR(&message.header);
    const bool typed =
        type != nullptr && type->cmsg_level == kSolTls && type->cmsg_type == TLS_GET_RECORD_TYPE;
    if (got == 0 && !typed) {
      why_ = "the peer's stream was cut off: it has no close_notify";
      return {.status = Status::kFailed, .error = ECONNRESET};
    }
    took_input = true;
    const auto size = static_cast<std::size_t>(got);
    const std::uint8_t kind = typed ? *CMSG_DATA(type) : kApplicationData;
    if (kind == kApplicationData) {
      if (size > 0) return {.took_input = true, .bytes = size};
      continue;  // a record without content
    }
    // What it has written is not the application's.
    const std::span<const char> content = into.first(size);
    std::optional<Result> result;
    if (kind == kAlert) {
      result = OnAlert(content);
    } else if (kind == kHandshake) {
      result = OnHandshake(content);
    } else {
      result = FailWith("TLS: unexpected record", kUnexpectedMessage);
    }
    if (result) return *result;
  }
  return {.status = Status::kAgain, .took_input = took_input};
}

Result KernelRecords::Write(std::span<const char> from) {
  ssize_t sent = 0;
  do {
    sent = ::send(fd_, from.data(), from.size(), MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (errno == EAGAIN) return {.status = Status::kWaitsForRoom};
    return Fail(errno);
  }
  plaintext_ += static_cast<std::uint64_t>(sent);
  return {.bytes = static_cast<std::size_t>(sent)};
}

Result KernelRecords::Shutdown() {
  if (!said_end_) {
    if (SendAlert(kWarning, kCloseNotify) < 0) {
      if (errno == EAGAIN || errno == EINTR) return {.status = Status::kWaitsForRoom};
      return Fail(errno);
    }
    said_end_ = true;
  }
  if (Unsent() == 0) return {};
  // The kernel sends it when there is room, from a thread of its own.
  pollfd socket{.fd = fd_, .events = POLLOUT, .revents = 0};
  ::poll(&socket, 1, 0);
  if ((socket.revents & (POLLERR | POLLHUP)) != 0) return Fail(ECONNRESET);
  return {.status = (socket.revents & POLLOUT) != 0 ? Status::kAgain : Status::kWaitsForRoom};
}

TakenBytes KernelRecords::TakenBySocket() const {
  const auto waiting = [this] {
    int bytes = 0;
    ::ioctl(fd_, SIOCOUTQ, &bytes);
    return static_cast<std::uint64_t>(bytes);
  };
  const auto confirmed = [this] {
    tcp_info info{};
    socklen_t size = sizeof(info);
    ::getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size);
    return std::uint64_t{info.tcpi_bytes_acked};
  };
  return CountTaken(waiting, confirmed);
}

std::size_t KernelRecords::Unsent() const {
  const std::optional<std::uint64_t> records = RecordsSent(fd_);
  if (!records) return 0;
  const std::uint64_t all = plaintext_ + *records * kRecordOverhead;
  const std::uint64_t taken = TakenBySocket().bytes - taken_at_start_;
  return all > taken ? static_cast<std::size_t>(all - taken) : 0;
}

}  // namespace sluice::tls
