// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// `sluice-proxy certificate`, and what reads its files.
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cmd/sluice-proxy/certificate.h"
#include "test/unit/mtls/credential_directory.h"
#include "tls/credentials.h"

namespace sluice::proxy {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

class CertificateTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return directory_.File(name); }
  std::string Make(std::vector<std::string> more) const {
    more.push_back("--ca=" + Path("ca"));
    return MakeCertificate(more);
  }
  std::shared_ptr<const tls::Credentials> Load(const std::string& name) const {
    return tls::Credentials::Load({.directory = Path(name), .bundles = {}},
                                  std::chrono::system_clock::now());
  }
  std::string Read(const std::string& name) const {
    std::ostringstream out;
    out << std::ifstream(Path(name)).rdbuf();
    return out.str();
  }
  std::vector<std::string> Names(const std::string& name) const {
    std::vector<std::string> out;
    for (const auto& each : std::filesystem::directory_iterator(Path(name))) {
      out.push_back(each.path().filename().string());
    }
    return out;
  }
  static std::string ErrorOf(const std::vector<std::string>& arguments, ErrorKind kind) {
    try {
      MakeCertificate(arguments);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      return error.what();
    }
    ADD_FAILURE() << "was accepted";
    return {};
  }

  const tls::CredentialDirectory directory_;
};

TEST_F(CertificateTest, ItsFilesAreWhatTheProxyLoads) {
  const std::string said =
      Make({"--directory=" + Path("cart"), "--namespace=shop", "--service-account", "cart"});
  EXPECT_THAT(said, AllOf(HasSubstr("a new certificate authority"),
                          HasSubstr("spiffe://cluster.local/ns/shop/sa/cart")));
  const auto cart = Load("cart");
  EXPECT_EQ(cart->id().ToString(), "spiffe://cluster.local/ns/shop/sa/cart");
  EXPECT_EQ(cart->writer(), "Istio");
  EXPECT_THAT(Names("cart"), UnorderedElementsAre("cert-chain.pem", "key.pem", "root-cert.pem"));
  EXPECT_THAT(Names("ca"), UnorderedElementsAre("ca-cert.pem", "ca-key.pem"));
  for (const char* const key : {"cart/key.pem", "ca/ca-key.pem"}) {
    struct stat status {};
    ASSERT_EQ(::stat(Path(key).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U) << key;
  }
  // The strict reading of RFC 5280, by another program.
  const std::string verify = "openssl verify -x509_strict -purpose sslserver -CAfile " +
                             Path("cart/root-cert.pem") + " " + Path("cart/cert-chain.pem") +
                             " >/dev/null";
  EXPECT_EQ(std::system(verify.c_str()), 0);
}

TEST_F(CertificateTest, TheAuthorityIsMadeOnce) {
  EXPECT_THAT(Make({}), HasSubstr("a new certificate authority"));
  const std::string authority = Read("ca/ca-cert.pem");
  EXPECT_EQ(Make({}), "");
  EXPECT_THAT(Make({"--directory=" + Path("a"), "--trust-domain=east.example", "--validity=10m"}),
              testing::Not(HasSubstr("authority")));
  EXPECT_EQ(Read("ca/ca-cert.pem"), authority);
  EXPECT_EQ(Read("a/root-cert.pem"), authority);
  const auto a = Load("a");
  EXPECT_EQ(a->id().ToString(), "spiffe://east.example/ns/default/sa/default");
  EXPECT_LE(a->not_after(), std::chrono::system_clock::now() + std::chrono::minutes(10));
}

TEST_F(CertificateTest, NothingIsOverwrittenUnlessThatIsSaid) {
  Make({"--directory=" + Path("cart")});
  const std::string before = Read("cart/cert-chain.pem") + Read("cart/key.pem");
  EXPECT_THAT(ErrorOf({"--ca=" + Path("ca"), "--directory=" + Path("cart")}, ErrorKind::kFailed),
              AllOf(HasSubstr("root-cert.pem"), HasSubstr("it exists")));
  EXPECT_EQ(Read("cart/cert-chain.pem") + Read("cart/key.pem"), before);
  Make({"--directory=" + Path("cart"), "--overwrite", "--service-account=till"});
  EXPECT_EQ(Load("cart")->id().ToString(), "spiffe://cluster.local/ns/default/sa/till");
  EXPECT_THAT(Names("cart"), testing::SizeIs(3));
}

TEST_F(CertificateTest, RefusesWhatWouldNotBeAccepted) {
  const std::string ca = "--ca=" + Path("ca");
  EXPECT_THAT(ErrorOf({}, ErrorKind::kUsage), HasSubstr("--ca"));
  EXPECT_THAT(ErrorOf({ca, "--namespace=a/b"}, ErrorKind::kUsage), HasSubstr("--namespace"));
  EXPECT_THAT(ErrorOf({ca, "--service-account=.."}, ErrorKind::kUsage), HasSubstr("/sa/.."));
  EXPECT_THAT(ErrorOf({ca, "--trust-domain=East"}, ErrorKind::kUsage), HasSubstr("East"));
  EXPECT_THAT(ErrorOf({ca, "--validity=1s"}, ErrorKind::kUsage), HasSubstr("a minute at least"));
  EXPECT_THAT(ErrorOf({ca, "--name-space=a"}, ErrorKind::kUsage), HasSubstr("--namespace"));
  EXPECT_FALSE(std::filesystem::exists(Path("ca")));
  // Of another authority.
  Make({});
  MakeCertificate({"--ca=" + Path("other")});
  std::filesystem::copy_file(Path("other/ca-key.pem"), Path("ca/ca-key.pem"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(ErrorOf({ca, "--directory=" + Path("cart")}, ErrorKind::kFailed),
              HasSubstr("the key of the authority"));
  EXPECT_FALSE(std::filesystem::exists(Path("cart")));
}

}  // namespace
}  // namespace sluice::proxy
