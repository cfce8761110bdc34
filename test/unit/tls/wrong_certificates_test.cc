// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Certificates that must not get anybody anywhere, each in a real handshake with OpenSSL's own code
// at the other end, which presents whatever it is given.
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "test/unit/mtls/credential_directory.h"
#include "test/unit/tls/openssl_peer.h"
#include "tls/stream/stream.h"

namespace sluice::tls {
namespace {

using testing::HasSubstr;

// Who signs it.
enum class Issuer {
  kRoot,          // the authority of cluster.local
  kItself,        // nobody
  kForged,        // another authority with the root's name
  kOther,         // the authority of other.example, which we know as well
  kWorkload,      // a workload of cluster.local
  kExpired,       // an authority below the root whose time is over
  kNoSigning,     // an authority below the root that may not sign certificates
  kTooDeep,       // an authority below one that may have none below it
  kIntermediate,  // an authority below the root, as it should be
};

struct WrongCertificate {
  const char* what;
  TestCertificate certificate;
  Issuer issuer = Issuer::kRoot;
  // Of Stream::why; empty where it depends on OpenSSL, or where OpenSSL cannot even present it.
  const char* why = "";
};

std::vector<WrongCertificate> WrongCertificates() {
  const auto named = [](const std::string& uri) { return TestCertificate{.names = "URI:" + uri}; };
  const std::string label(63, 'a');
  const std::string domain = label + "." + label + "." + label + "." + label + ".a";  // 257 bytes
  return {
      {"two URIs",
       {.names = "URI:spiffe://cluster.local/a,URI:spiffe://cluster.local/b"},
       Issuer::kRoot,
       "more than one URI"},
      {"another URI first",
       {.names = "URI:https://a.example,URI:spiffe://cluster.local/b"},
       Issuer::kRoot,
       "more than one URI"},
      {"no name", {.names = ""}, Issuer::kRoot, "no URI"},
      {"a host's name", {.names = "DNS:cart.shop.svc"}, Issuer::kRoot, "no URI"},
      {"only a subject",
       {.names = "", .subject = "spiffe://cluster.local/ns/shop/sa/cart"},
       Issuer::kRoot,
       "no URI"},
      {"another scheme", named("https://cluster.local/ns/shop/sa/cart"), Issuer::kRoot,
       "not a SPIFFE ID"},
      {"no path", named("spiffe://cluster.local"), Issuer::kRoot, "path"},
      {"an empty path", named("spiffe://cluster.local/"), Issuer::kRoot, "segments"},
      {"an empty segment", named("spiffe://cluster.local/ns//sa/cart"), Issuer::kRoot, "segments"},
      {"a parent's segment", named("spiffe://cluster.local/ns/bank/../shop/sa/cart"), Issuer::kRoot,
       "segments"},
      {"percent-encoding", named("spiffe://cluster.local/ns/%73hop/sa/cart"), Issuer::kRoot,
       "segments"},
      {"a query", named("spiffe://cluster.local/ns/shop/sa/cart?a"), Issuer::kRoot, "segments"},
      {"a port", named("spiffe://cluster.local:80/ns/shop/sa/cart"), Issuer::kRoot, "trust domain"},
      {"a user", named("spiffe://root@cluster.local/ns/shop/sa/cart"), Issuer::kRoot,
       "trust domain"},
      {"capital letters", named("spiffe://Cluster.Local/ns/shop/sa/cart"), Issuer::kRoot,
       "trust domain"},
      {"a name of 2,049 bytes and more", named("spiffe://cluster.local/" + std::string(2048, 'x')),
       Issuer::kRoot, "2048 bytes"},
      {"a trust domain of 257 bytes", named("spiffe://" + domain + "/a"), Issuer::kRoot,
       "trust domain"},
      {"a foreign trust domain", named("spiffe://bank.example/ns/shop/sa/cart"), Issuer::kRoot,
       "unknown trust domain bank.example"},
      {"another domain's authority for a name of ours", {}, Issuer::kOther},
      {"our authority for another domain's name", named("spiffe://other.example/ns/shop/sa/cart"),
       Issuer::kRoot},
      {"a CA bit", {.constraints = "critical,CA:TRUE"}, Issuer::kRoot, "certificate authority"},
      {"no key usage", {.usage = ""}, Issuer::kRoot, "no key usage"},
      {"no digitalSignature",
       {.usage = "critical,keyAgreement"},
       Issuer::kRoot,
       "digitalSignature"},
      {"keyCertSign", {.usage = "critical,digitalSignature,keyCertSign"}, Issuer::kRoot},
      {"cRLSign", {.usage = "critical,digitalSignature,cRLSign"}, Issuer::kRoot, "may sign others"},
      {"for clients alone", {.extended = "clientAuth"}, Issuer::kRoot, "not for both"},
      {"for servers alone", {.extended = "serverAuth"}, Issuer::kRoot, "not for both"},
      {"for code", {.extended = "codeSigning"}, Issuer::kRoot, "not for both"},
      {"expired",
       {.from = std::chrono::hours(-2), .until = std::chrono::seconds(-1)},
       Issuer::kRoot,
       "expired"},
      {"not yet valid", {.from = std::chrono::seconds(60)}, Issuer::kRoot, "not yet valid"},
      {"signed by itself", {}, Issuer::kItself},
      {"of another authority with the name of ours", {}, Issuer::kForged},
      {"signed by a workload", {}, Issuer::kWorkload},
      {"of an expired intermediate", {}, Issuer::kExpired, "expired"},
      {"of an intermediate that may not sign", {}, Issuer::kNoSigning},
      {"of an authority below one that may have none", {}, Issuer::kTooDeep},
      {"signed with SHA-1", {.sha1 = true}, Issuer::kRoot},
      {"an RSA key of 1,024 bits", {.rsa_bits = 1024}, Issuer::kRoot, "key too weak"},
      {"a curve of 192 bits", {.curve = "P-192"}, Issuer::kRoot},
      {"a curve that TLS 1.3 does not have", {.curve = "secp256k1"}, Issuer::kRoot},
  };
}

class WrongCertificatesTest : public testing::TestWithParam<Stream::Role> {
 protected:
  WrongCertificatesTest() {
    files_.Put(Issue({.names = "URI:spiffe://cluster.local/ns/shop/sa/own"}, &root_), root_.Pem());
    files_.Write("other.pem", other_.Pem());
    auto credentials = Credentials::Load(
        {.directory = files_.path(),
         .bundles = {{.trust_domain = "other.example", .file = files_.File("other.pem")}}},
        kTestNow);
    context_ = std::make_shared<const Context>(std::move(credentials), [] { return kTestNow; });
  }

  // The issuer, and what is sent along to make a chain.
  const TestIdentity* Of(Issuer issuer, std::string& along) const {
    const auto below = [&](const TestIdentity& one) {
      along = one.Pem();
      return &one;
    };
    switch (issuer) {
      case Issuer::kRoot:
        return &root_;
      case Issuer::kItself:
        return nullptr;
      case Issuer::kForged:
        return below(forged_);
      case Issuer::kOther:
        return &other_;
      case Issuer::kWorkload:
        return below(workload_);
      case Issuer::kExpired:
        return below(expired_);
      case Issuer::kNoSigning:
        return below(no_signing_);
      case Issuer::kTooDeep:
        along = below_last_.Pem() + last_.Pem();
        return &below_last_;
      case Issuer::kIntermediate:
        return below(intermediate_);
    }
    return nullptr;
  }

  static TestCertificate Ca(std::string subject, std::string constraints, std::string usage) {
    TestCertificate out = TestCa(std::move(subject));
    out.constraints = std::move(constraints);
    out.usage = std::move(usage);
    return out;
  }
  static TestCertificate ExpiredCa() {
    TestCertificate out = TestCa("expired");
    out.from = std::chrono::hours(-2);
    out.until = std::chrono::seconds(-1);
    return out;
  }

  // A whole attempt: what we say of it, and whether a byte of ours or theirs got anywhere.
  struct Attempt {
    std::string why;
    bool established = false;
    bool leaked = false;
  };
  Attempt Try(const TestIdentity& shown, const std::string& along) const {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
    const UniqueFd ours(fds[0]);
    const UniqueFd theirs(fds[1]);
    OpenSslPeer peer(
        theirs.get(),
        {.server = GetParam() == Stream::Role::kClient, .identity = &shown, .issuers = along});
    peer.to_send = "theirs";
    Stream stream(context_, ours.get(),
                  {.role = GetParam(), .allowed = nullptr, .server_name = {}});
    std::array<char, 64> buffer{};
    bool read = false;
    for (int turn = 0; turn < 100; ++turn) {
      const Stream::Result written = stream.Write(std::string_view("ours"));
      const Stream::Result got = stream.Read(buffer);
      read = read || got.bytes > 0;
      peer.Play();
      if (got.status == Stream::Status::kFailed || written.status == Stream::Status::kFailed ||
          (read && !peer.received.empty())) {
        break;
      }
    }
    for (int turn = 0; turn < 3; ++turn) peer.Play();
    return {.why = stream.why(),
            .established = stream.peer() != nullptr,
            .leaked = read || !peer.received.empty()};
  }

  const TestIdentity root_ = Issue(TestCa("root"));
  const TestIdentity forged_ = Issue(TestCa("root"));
  const TestIdentity other_ = Issue(TestCa("other"));
  const TestIdentity workload_ = Issue({.subject = "workload"}, &root_);
  const TestIdentity expired_ = Issue(ExpiredCa(), &root_);
  const TestIdentity no_signing_ =
      Issue(Ca("no signing", "critical,CA:TRUE", "critical,digitalSignature"), &root_);
  const TestIdentity last_ =
      Issue(Ca("last", "critical,CA:TRUE,pathlen:0", "critical,keyCertSign"), &root_);
  const TestIdentity below_last_ = Issue(TestCa("below"), &last_);
  const TestIdentity intermediate_ = Issue(TestCa("intermediate"), &root_);
  const CredentialDirectory files_;
  std::shared_ptr<const Context> context_;
};

INSTANTIATE_TEST_SUITE_P(, WrongCertificatesTest,
                         testing::Values(Stream::Role::kClient, Stream::Role::kServer),
                         [](const auto& parameter) {
                           return parameter.param == Stream::Role::kClient ? "client" : "server";
                         });

TEST_P(WrongCertificatesTest, GetNobodyAnywhere) {
  const std::vector<WrongCertificate> wrong = WrongCertificates();
  EXPECT_GE(wrong.size(), 30U);
  for (const WrongCertificate& each : wrong) {
    SCOPED_TRACE(each.what);
    std::string along;
    const TestIdentity* const issuer = Of(each.issuer, along);
    const Attempt attempt = Try(Issue(each.certificate, issuer), along);
    EXPECT_FALSE(attempt.established);
    EXPECT_FALSE(attempt.leaked);
    EXPECT_THAT(attempt.why, HasSubstr(each.why));
    EXPECT_NE(attempt.why, "");
  }
}

// The same with certificates that are right, so that the ones above fail for what is wrong.
TEST_P(WrongCertificatesTest, RightOnesDo) {
  const TestCertificate theirs{.names = "URI:spiffe://other.example/ns/shop/sa/cart"};
  const struct {
    TestCertificate certificate;
    Issuer issuer = Issuer::kRoot;
  } right[] = {{{}},
               {{}, Issuer::kIntermediate},
               {theirs, Issuer::kOther},
               {{.rsa_bits = 2048}},
               {{.curve = "P-384"}},
               {{.names = "DNS:cart.shop.svc,URI:spiffe://cluster.local/ns/shop/sa/cart"}},
               {{.extended = ""}}};
  for (const auto& each : right) {
    SCOPED_TRACE(each.certificate.names + " " + each.certificate.curve);
    std::string along;
    const TestIdentity* const issuer = Of(each.issuer, along);
    const Attempt attempt = Try(Issue(each.certificate, issuer), along);
    EXPECT_TRUE(attempt.established) << attempt.why;
    EXPECT_TRUE(attempt.leaked);
  }
}

}  // namespace
}  // namespace sluice::tls
