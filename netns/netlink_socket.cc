// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/netlink_socket.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include <netlink/errno.h>

namespace sluice::netns {
namespace {

int OnKernelError(sockaddr_nl*, nlmsgerr* error, void* answer_pointer) {
  auto& answer = *static_cast<KernelAnswer*>(answer_pointer);
  answer.error = -error->error;
  // linux/netlink.h: the message is the payload of an NLMSG_ERROR; attributes follow the copy of
  // our request, of which NLM_F_CAPPED keeps only the header.
  auto* const header = reinterpret_cast<nlmsghdr*>(reinterpret_cast<char*>(error) - NLMSG_HDRLEN);
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) != 0) {
    std::size_t skip = sizeof(*error);
    if ((header->nlmsg_flags & NLM_F_CAPPED) == 0) skip += error->msg.nlmsg_len - NLMSG_HDRLEN;
    const nlattr* text = nlmsg_find_attr(header, static_cast<int>(skip), NLMSGERR_ATTR_MSG);
    if (text != nullptr) answer.sentence = nla_get_string(text);
  }
  return NL_STOP;
}

// How often to repeat a listing that changed while it was read (NLM_F_DUMP_INTR): if this is not
// enough, the result is an error, not a wrong list.
constexpr int kListingAttempts = 10;

// The receiver of messages. Exceptions must not pass through libnl's C frames.
struct Delivery {
  NetlinkSocket::Messages& messages;
  std::exception_ptr failure;
};

int OnValid(nl_msg* message, void* delivery_pointer) {
  auto& delivery = *static_cast<Delivery*>(delivery_pointer);
  try {
    delivery.messages.emplace_back();
    nlmsg_get(message);
    delivery.messages.back().reset(message);
  } catch (...) {
    delivery.failure = std::current_exception();
  }
  // Never NL_STOP: the rest of this answer would be taken for the next one.
  return NL_OK;
}

}  // namespace

Error NetlinkError(int code, const KernelAnswer& answer, std::string doing, std::string target) {
  ErrorKind kind = ErrorKind::kFailed;
  std::string why = answer.error != 0 ? std::strerror(answer.error) : nl_geterror(code);
  std::string help;
  if (!answer.sentence.empty()) why += " (" + answer.sentence + ")";
  if (answer.error == EPERM || (answer.error == 0 && -code == NLE_PERM)) {
    kind = ErrorKind::kPrivilege;
    help = "this needs CAP_NET_ADMIN in the user namespace that owns the network namespace";
  } else if (answer.error == EAFNOSUPPORT || answer.error == EOPNOTSUPP) {
    kind = ErrorKind::kKernelFeature;
    help = "this kernel lacks the requested feature; was it started with ipv6.disable=1?";
  }
  return Error(kind, {.doing = std::move(doing),
                      .target = std::move(target),
                      .why = std::move(why),
                      .help = std::move(help)});
}

NetlinkSocket::NetlinkSocket() : socket_(nl_socket_alloc()) {
  if (!socket_) throw std::bad_alloc();
  if (const int code = nl_connect(socket_.get(), NETLINK_ROUTE); code < 0) {
    throw NetlinkError(code, {}, "open a netlink socket", "");
  }
  // The kernel fills at most 32 KiB at a time (netlink_dump of net/netlink/af_netlink.c), so
  // messages need not be peeked at to learn their size.
  nl_socket_disable_msg_peek(socket_.get());
  nl_socket_set_msg_buf_size(socket_.get(), 32 << 10);
  nl_socket_modify_err_cb(socket_.get(), NL_CB_CUSTOM, OnKernelError, &answer_);
  // Both are optional improvements: a text with each refusal (since Linux 4.12), and listings
  // filtered by the kernel (since 4.20). Older kernels refuse the option and work without it.
  const int on = 1;
  static_cast<void>(setsockopt(fd(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)));
  static_cast<void>(setsockopt(fd(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)));
}

int NetlinkSocket::Receive(Messages& answer) {
  Delivery delivery{.messages = answer, .failure = nullptr};
  nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_CUSTOM, OnValid, &delivery);
  const int code = nl_recvmsgs_default(socket_.get());
  nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_DEFAULT, nullptr, nullptr);
  if (delivery.failure) std::rethrow_exception(delivery.failure);
  return code;
}

int NetlinkSocket::Ask(const std::string& doing, const std::string& target, const Build& build) {
  nl_msg* raw = nullptr;
  answer_ = {};
  int code = build(&raw);
  const NlPtr<nl_msg> message(raw);
  if (code >= 0) code = nl_send_auto(socket_.get(), message.get());
  if (code >= 0) code = nl_wait_for_ack(socket_.get());
  if (code < 0 && answer_.error == 0) throw NetlinkError(code, answer_, doing, target);
  return answer_.error;
}

int NetlinkSocket::Get(const std::string& doing, const std::string& target, const Build& build,
                       Messages& answer) {
  nl_msg* raw = nullptr;
  answer_ = {};
  int code = build(&raw);
  const NlPtr<nl_msg> message(raw);
  if (code >= 0) code = nl_send_auto(socket_.get(), message.get());
  if (code >= 0) code = Receive(answer);
  // The answer is followed by the acknowledgement that nl_send_auto requested.
  if (code >= 0) code = nl_wait_for_ack(socket_.get());
  if (code < 0 && answer_.error == 0) throw NetlinkError(code, answer_, doing, target);
  return answer_.error;
}

NetlinkSocket::Messages NetlinkSocket::List(nl_msg* request, const std::string& doing,
                                            int empty_errno) {
  Messages out;
  int code = -NLE_DUMP_INTR;
  for (int attempt = 0; code == -NLE_DUMP_INTR && attempt < kListingAttempts; ++attempt) {
    out.clear();
    answer_ = {};
    // libnl only numbers messages that have no number, and would send this one unchanged.
    nlmsg_hdr(request)->nlmsg_seq = NL_AUTO_SEQ;
    code = nl_send_auto(socket_.get(), request);
    if (code >= 0) code = Receive(out);
  }
  if (code >= 0) return out;
  if (answer_.error != 0 && answer_.error == empty_errno) return {};
  throw NetlinkError(code, answer_, doing, "");
}

NlPtr<nl_msg> NewListing(int type, const void* header, std::size_t length) {
  // The default is a page, which libnl clears first; a listing adds an attribute or two.
  constexpr std::size_t kAttributes = 64;
  NlPtr<nl_msg> out = Own(nlmsg_alloc_size(NLMSG_SPACE(length) + kAttributes));
  if (nlmsg_put(out.get(), NL_AUTO_PORT, NL_AUTO_SEQ, type, 0, NLM_F_DUMP) == nullptr ||
      nlmsg_append(out.get(), const_cast<void*>(header), length, NLMSG_ALIGNTO) < 0) {
    throw std::bad_alloc();
  }
  return out;
}

NlPtr<nl_object> ParseObject(nl_msg* message) {
  nl_object* object = nullptr;
  const auto keep = [](nl_object* parsed, void* slot) {
    nl_object_get(parsed);
    *static_cast<nl_object**>(slot) = parsed;
  };
  const int code = nl_msg_parse(message, keep, &object);
  if (code < 0) throw NetlinkError(code, {}, "understand a message of the kernel", "");
  return Own(object);
}

}  // namespace sluice::netns
