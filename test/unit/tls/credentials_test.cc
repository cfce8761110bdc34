// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/credentials.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/error_of.h"
#include "test/unit/tls/test_authority.h"
#include "tls/credential_store.h"

namespace sluice::tls {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::seconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_support::ErrorOf;

constexpr std::string_view kCart = "spiffe://cluster.local/ns/shop/sa/cart";

class CredentialsTest : public testing::Test {
 protected:
  CredentialsTest() {
    std::string name = (fs::temp_directory_path() / "sluice-tls.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
  }
  ~CredentialsTest() override { fs::remove_all(directory_); }

  static void Write(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  }

  // Writes the files of cert-manager.
  void WriteFiles(const TestIdentity& identity, const std::string& roots) const {
    Write(directory_ / "tls.crt", identity.Pem());
    Write(directory_ / "tls.key", identity.KeyPem());
    Write(directory_ / "ca.crt", roots);
  }
  void WriteFiles(const TestIdentity& identity) const { WriteFiles(identity, root_.Pem()); }

  CredentialSource Source() const { return {.directory = directory_.string(), .bundles = {}}; }

  std::shared_ptr<const Credentials> Load() const { return Credentials::Load(Source(), kTestNow); }

  std::string WhyNot() const {
    return ErrorOf([&] { Load(); }).what();
  }

  static PeerVerdict Verify(const Credentials& credentials,
                            const std::vector<std::vector<std::uint8_t>>& chain,
                            Credentials::Time now = kTestNow) {
    const std::vector<std::span<const std::uint8_t>> views(chain.begin(), chain.end());
    return credentials.VerifyPeer(views, now);
  }

  fs::path directory_;
  const TestIdentity root_ = Issue(TestCa("root"));
};

TEST_F(CredentialsTest, TakesTheFilesOfEveryWriter) {
  const TestIdentity cart = Issue({}, &root_);
  const std::map<std::string, std::array<const char*, 3>> writers{
      {"Istio", {"cert-chain.pem", "key.pem", "root-cert.pem"}},
      {"cert-manager", {"tls.crt", "tls.key", "ca.crt"}},
      {"spiffe-helper", {"svid.pem", "svid_key.pem", "svid_bundle.pem"}},
      {"GKE", {"certificates.pem", "private_key.pem", "ca_certificates.pem"}},
  };
  for (const auto& [writer, names] : writers) {
    const std::array<std::string, 3> texts{cart.Pem(), cart.KeyPem(), root_.Pem()};
    for (std::size_t i = 0; i < names.size(); ++i) Write(directory_ / names[i], texts[i]);
    const auto loaded = Load();
    EXPECT_EQ(loaded->writer(), writer);
    EXPECT_EQ(loaded->id().ToString(), kCart);
    EXPECT_EQ(loaded->not_before(), kTestNow - seconds(60));
    EXPECT_EQ(loaded->not_after(), kTestNow + hours(1));
    EXPECT_THAT(loaded->trust_domains(), ElementsAre("cluster.local"));
    for (const char* name : names) fs::remove(directory_ / name);
  }
}

TEST_F(CredentialsTest, SaysWhichFileIsMissing) {
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("it has no credentials"), HasSubstr("cert-chain.pem")));
  WriteFiles(Issue({}, &root_));
  fs::remove(directory_ / "ca.crt");
  EXPECT_THAT(WhyNot(), HasSubstr("of the files of cert-manager, ca.crt is missing"));
  fs::remove_all(directory_);
  EXPECT_THAT(WhyNot(), HasSubstr("No such file or directory"));
}

TEST_F(CredentialsTest, GuessesNotBetweenTwoWriters) {
  const TestIdentity cart = Issue({}, &root_);
  WriteFiles(cart);
  Write(directory_ / "cert-chain.pem", cart.Pem());
  Write(directory_ / "key.pem", cart.KeyPem());
  EXPECT_EQ(Load()->writer(), "cert-manager");
  Write(directory_ / "root-cert.pem", root_.Pem());
  EXPECT_THAT(WhyNot(), HasSubstr("more than one writer"));
}

TEST_F(CredentialsTest, RefusesFilesThatAreNoFiles) {
  WriteFiles(Issue({}, &root_));
  fs::remove(directory_ / "tls.key");
  ASSERT_EQ(::mkfifo((directory_ / "tls.key").c_str(), 0600), 0);
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("tls.key"), HasSubstr("not a regular file")));
  fs::remove(directory_ / "tls.key");
  Write(directory_ / "tls.key", std::string(1024 * 1024 + 1, 'x'));
  EXPECT_THAT(WhyNot(), HasSubstr("larger than 1 MiB"));
}

TEST_F(CredentialsTest, RefusesAKeyThatDoesNotFit) {
  WriteFiles(Issue({}, &root_));
  const TestIdentity other = Issue({}, &root_);
  Write(directory_ / "tls.key", other.KeyPem());
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("tls.key"), HasSubstr("not that of the certificate")));
  Write(directory_ / "tls.key", other.KeyPem("secret"));
  EXPECT_THAT(WhyNot(), HasSubstr("without a passphrase"));
  Write(directory_ / "tls.key", "");
  EXPECT_THAT(WhyNot(), HasSubstr("no private key"));
}

TEST_F(CredentialsTest, RefusesDamagedFiles) {
  const TestIdentity cart = Issue({}, &root_);
  WriteFiles(cart, "");
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("ca.crt"), HasSubstr("no certificate")));
  const std::string two = root_.Pem() + Issue(TestCa("other")).Pem();
  // Half a bundle would mean half of the mesh.
  WriteFiles(cart, two.substr(0, two.size() - 100));
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("ca.crt"), HasSubstr("cut off")));
  WriteFiles(cart, cart.Pem());
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("ca.crt"), HasSubstr("not a certificate authority")));
}

TEST_F(CredentialsTest, RefusesACertificateThatAPeerWouldRefuse) {
  WriteFiles(Issue({.from = hours(-2), .until = hours(-1)}, &root_));
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("tls.crt"), HasSubstr("expired")));
  WriteFiles(Issue({.from = hours(1), .until = hours(2)}, &root_));
  EXPECT_THAT(WhyNot(), HasSubstr("not yet valid"));
  WriteFiles(Issue({}, &root_), Issue(TestCa("root")).Pem());
  EXPECT_THAT(WhyNot(), HasSubstr("tls.crt"));
}

// What X509-SVID.md requires of a workload's certificate, with one violation at a time.
TEST_F(CredentialsTest, KnowsAPeerOnlyByAProperCertificate) {
  WriteFiles(Issue({}, &root_));
  const auto credentials = Load();
  const struct {
    TestCertificate what;
    const char* why;  // null: accepted
  } cases[] = {
      {{}, nullptr},
      {{.names = "DNS:cart.shop.svc,URI:spiffe://cluster.local/ns/shop/sa/cart"}, nullptr},
      {{.usage = "digitalSignature,keyEncipherment"}, nullptr},
      {{.extended = ""}, nullptr},
      {{.extended = "serverAuth,clientAuth,codeSigning"}, nullptr},
      {{.subject = "cart"}, nullptr},
      {{.rsa_bits = 2048}, nullptr},
      {{.constraints = ""}, nullptr},
      {{.names = ""}, "no URI"},
      {{.names = "DNS:cart.shop.svc"}, "no URI"},
      {{.names = "URI:spiffe://cluster.local/a,URI:spiffe://cluster.local/b"}, "more than one URI"},
      {{.names = "URI:spiffe://cluster.local/a,URI:https://a.example"}, "more than one URI"},
      {{.names = "URI:https://cluster.local/a"}, "is not a SPIFFE ID"},
      {{.names = "URI:spiffe://cluster.local"}, "with a path"},
      {{.names = "URI:spiffe://cluster.local/"}, "segments"},
      {{.names = "URI:spiffe://cluster.local/ns/%73hop"}, "segments"},
      {{.names = "URI:spiffe://Cluster.local/a"}, "trust domain"},
      {{.names = "URI:spiffe://cluster.local/" + std::string(2048, 'x')}, "2048 bytes"},
      {{.names = "URI:spiffe://other.example/a"}, "unknown trust domain other.example"},
      {{.constraints = "critical,CA:TRUE"}, "certificate authority"},
      {{.usage = ""}, "no key usage"},
      {{.usage = "keyEncipherment"}, "lacks digitalSignature"},
      {{.usage = "digitalSignature,keyCertSign"}, ""},
      {{.usage = "digitalSignature,cRLSign"}, "may sign others"},
      {{.extended = "clientAuth"}, "not for both"},
      {{.extended = "serverAuth"}, "not for both"},
      {{.extended = "codeSigning"}, "not for both"},
      {{.from = hours(-2), .until = seconds(-1)}, "expired"},
      {{.from = seconds(1)}, "not yet valid"},
      {{.rsa_bits = 1024}, "key too weak"},
  };
  for (const auto& [what, why] : cases) {
    SCOPED_TRACE(what.names + " " + what.constraints + " " + what.usage + " " + what.extended);
    const PeerVerdict verdict = Verify(*credentials, {Issue(what, &root_).Der()});
    EXPECT_EQ(verdict.id.has_value(), why == nullptr) << verdict.why;
    if (why == nullptr) {
      EXPECT_EQ(verdict.id->ToString(), kCart);
    } else {
      EXPECT_THAT(verdict.why, HasSubstr(why));
    }
  }
}

TEST_F(CredentialsTest, RefusesForgedCertificates) {
  WriteFiles(Issue({}, &root_));
  const auto credentials = Load();
  EXPECT_THAT(Verify(*credentials, {}).why, HasSubstr("no certificate"));
  EXPECT_FALSE(Verify(*credentials, {Issue({}).Der()}).id) << "signed by itself";
  // Another authority with the same name.
  const TestIdentity other = Issue(TestCa("root"));
  EXPECT_FALSE(Verify(*credentials, {Issue({}, &other).Der()}).id);
  EXPECT_FALSE(Verify(*credentials, {Issue({}, &other).Der(), other.Der()}).id) << "brought along";
  // A workload that acts as an authority.
  const TestIdentity cart = Issue({.subject = "cart"}, &root_);
  EXPECT_FALSE(Verify(*credentials, {Issue({}, &cart).Der(), cart.Der()}).id);
  std::vector<std::uint8_t> der = cart.Der();
  EXPECT_TRUE(Verify(*credentials, {der}).id);
  der.back() ^= 1U;
  EXPECT_FALSE(Verify(*credentials, {der}).id) << "the signature was changed";
  der = cart.Der();
  der.push_back(0);
  EXPECT_THAT(Verify(*credentials, {der}).why, HasSubstr("cannot be read"));
  EXPECT_FALSE(Verify(*credentials, {{}}).id);
  EXPECT_THAT(Verify(*credentials, std::vector(11, cart.Der())).why, HasSubstr("too long"));
}

TEST_F(CredentialsTest, TakesIntermediatesInAnyOrder) {
  const TestIdentity first = Issue(TestCa("first"), &root_);
  const TestIdentity second = Issue(TestCa("second"), &first);
  const TestIdentity cart = Issue({}, &second);
  Write(directory_ / "tls.crt", cart.Pem() + second.Pem() + first.Pem());
  Write(directory_ / "tls.key", cart.KeyPem());
  Write(directory_ / "ca.crt", root_.Pem());
  const auto credentials = Load();
  EXPECT_TRUE(Verify(*credentials, {cart.Der(), second.Der(), first.Der()}).id);
  EXPECT_TRUE(Verify(*credentials, {cart.Der(), first.Der(), second.Der()}).id);
  EXPECT_FALSE(Verify(*credentials, {cart.Der(), second.Der()}).id);
  // An intermediate in the bundle is an anchor.
  WriteFiles(Issue({}, &second), second.Pem());
  EXPECT_TRUE(Verify(*Load(), {cart.Der()}).id);
}

TEST_F(CredentialsTest, KeepsTrustDomainsApart) {
  const TestIdentity other = Issue(TestCa("other"));
  WriteFiles(Issue({}, &root_));
  Write(directory_ / "other.pem", other.Pem());
  CredentialSource source = Source();
  source.bundles = {{.trust_domain = "other.example", .file = directory_ / "other.pem"}};
  const auto credentials = Credentials::Load(source, kTestNow);
  EXPECT_THAT(credentials->trust_domains(), ElementsAre("cluster.local", "other.example"));
  const TestCertificate theirs{.names = "URI:spiffe://other.example/ns/shop/sa/cart"};
  EXPECT_TRUE(Verify(*credentials, {Issue({}, &root_).Der()}).id);
  EXPECT_TRUE(Verify(*credentials, {Issue(theirs, &other).Der()}).id);
  EXPECT_FALSE(Verify(*credentials, {Issue({}, &other).Der()}).id) << "they name one of ours";
  EXPECT_FALSE(Verify(*credentials, {Issue(theirs, &root_).Der()}).id) << "we name one of theirs";

  for (const char* domain : {"other.example", "cluster.local", "", "Other"}) {
    CredentialSource wrong = source;
    wrong.bundles.push_back({.trust_domain = domain, .file = directory_ / "other.pem"});
    EXPECT_THAT(ErrorOf([&] { Credentials::Load(wrong, kTestNow); }).what(), HasSubstr("other.pem"))
        << domain;
  }
}

TEST_F(CredentialsTest, TakesTwoRootsWhileOneReplacesTheOther) {
  for (const bool key_ids : {true, false}) {
    SCOPED_TRACE(key_ids);
    // One name with two keys.
    TestCertificate authority = TestCa("root");
    authority.key_ids = key_ids;
    const TestIdentity root = Issue(authority);
    const TestIdentity next = Issue(authority);
    const TestCertificate workload{.key_ids = key_ids};
    WriteFiles(Issue(workload, &root), next.Pem() + root.Pem());
    const auto credentials = Load();
    EXPECT_TRUE(Verify(*credentials, {Issue(workload, &root).Der()}).id);
    EXPECT_TRUE(Verify(*credentials, {Issue(workload, &next).Der()}).id);
    TestCertificate expired = workload;
    expired.from = hours(-2);
    expired.until = hours(-1);
    for (const TestIdentity* issuer : {&root, &next}) {
      EXPECT_THAT(Verify(*credentials, {Issue(expired, issuer).Der()}).why, HasSubstr("expired"));
    }
  }
}

TEST_F(CredentialsTest, AreReplacedAllTogetherOrNotAtAll) {
  WriteFiles(Issue({}, &root_));
  CredentialStore store(Source(), kTestNow);
  const auto before = store.Current();
  EXPECT_EQ(store.Reload(kTestNow).outcome, CredentialStore::Outcome::kSame);

  const TestIdentity root = Issue(TestCa("new"));
  const TestIdentity cart = Issue({.until = hours(2)}, &root);
  Write(directory_ / "tls.crt", cart.Pem());
  EXPECT_EQ(store.Reload(kTestNow).outcome, CredentialStore::Outcome::kFailed);
  Write(directory_ / "tls.key", cart.KeyPem());
  const CredentialStore::Reloaded half = store.Reload(kTestNow);
  EXPECT_EQ(half.outcome, CredentialStore::Outcome::kFailed);
  EXPECT_THAT(half.why, HasSubstr("tls.crt"));
  EXPECT_EQ(store.Current(), before);

  Write(directory_ / "ca.crt", root.Pem());
  EXPECT_EQ(store.Reload(kTestNow).outcome, CredentialStore::Outcome::kReplaced);
  EXPECT_EQ(store.Current()->not_after(), kTestNow + hours(2));
  EXPECT_EQ(before->not_after(), kTestNow + hours(1)) << "who has the old one keeps it";
  EXPECT_TRUE(Verify(*before, {Issue({}, &root_).Der()}).id);

  fs::remove(directory_ / "tls.key");
  EXPECT_EQ(store.Reload(kTestNow).outcome, CredentialStore::Outcome::kFailed);
  EXPECT_EQ(store.Current()->not_after(), kTestNow + hours(2));
}

TEST_F(CredentialsTest, AreReadFromOneVersionOfAVolume) {
  const auto write_version = [&](const char* name, const TestIdentity& identity) {
    fs::create_directory(directory_ / name);
    Write(directory_ / name / "tls.crt", identity.Pem());
    Write(directory_ / name / "tls.key", identity.KeyPem());
    Write(directory_ / name / "ca.crt", root_.Pem());
  };
  write_version("..1", Issue({}, &root_));
  write_version("..2", Issue({.until = hours(2)}, &root_));
  fs::create_symlink("..1", directory_ / "..data");
  for (const char* name : {"tls.crt", "tls.key", "ca.crt"}) {
    fs::create_symlink(fs::path("..data") / name, directory_ / name);
  }
  CredentialStore store(Source(), kTestNow);
  EXPECT_EQ(store.Current()->not_after(), kTestNow + hours(1));
  fs::create_symlink("..2", directory_ / "..data_tmp");
  fs::rename(directory_ / "..data_tmp", directory_ / "..data");
  EXPECT_EQ(store.Reload(kTestNow).outcome, CredentialStore::Outcome::kReplaced);
  EXPECT_EQ(store.Current()->not_after(), kTestNow + hours(2));
}

TEST_F(CredentialsTest, ReportAnExpiryOfTheirOwn) {
  WriteFiles(Issue({}, &root_));
  CredentialStore store(Source(), kTestNow);
  const CredentialStore::Reloaded late = store.Reload(kTestNow + hours(2));
  EXPECT_EQ(late.outcome, CredentialStore::Outcome::kFailed);
  EXPECT_THAT(late.why, HasSubstr("expired"));
}

}  // namespace
}  // namespace sluice::tls
