// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/credentials.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <map>
#include <new>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "tls/credential_files.h"
#include "tls/svid.h"

namespace sluice::tls {
namespace {

// More than our handshakes need; longer chains would be work for an unknown peer.
constexpr std::size_t kMaxChain = 10;

// SHA-256 of several texts, each with its length, so that different splits have different hashes.
class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new()) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
      throw std::bad_alloc();
    }
  }

  void Add(std::string_view text) {
    const std::uint64_t size = text.size();
    if (EVP_DigestUpdate(context_.get(), &size, sizeof size) != 1 ||
        EVP_DigestUpdate(context_.get(), text.data(), text.size()) != 1) {
      throw std::bad_alloc();
    }
  }

  std::array<std::uint8_t, 32> Finish() {
    std::array<std::uint8_t, 32> out{};
    if (EVP_DigestFinal_ex(context_.get(), out.data(), nullptr) != 1) throw std::bad_alloc();
    return out;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, FreeWith<EVP_MD_CTX_free>> context_;
};

// Returns the result of `body`; its exceptions become an Error about `file`.
template <typename Body>
auto About(const std::string& file, const Body& body) {
  try {
    return body();
  } catch (const std::invalid_argument& error) {
    throw Error(ErrorKind::kFailed,
                {.doing = "load credentials", .target = file, .why = error.what(), .help = {}});
  }
}

UniqueStack StackOf(const std::vector<UniqueX509>& chain) {
  UniqueStack out(sk_X509_new_null());
  if (!out) throw std::bad_alloc();
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (sk_X509_push(out.get(), chain[i].get()) == 0) throw std::bad_alloc();
  }
  return out;
}

}  // namespace

struct Credentials::State {
  explicit State(SpiffeId own) : id(std::move(own)) {}

  SpiffeId id;
  std::vector<UniqueX509> chain;
  UniqueKey key;
  // By trust domain; X509_STORE has its own lock.
  std::map<std::string, TrustRoots, std::less<>> roots;
  Time not_before;
  Time not_after;
  std::string_view writer;
  std::array<std::uint8_t, 32> digest{};
};

Credentials::Credentials(std::unique_ptr<State> state) : state_(std::move(state)) {}
Credentials::~Credentials() = default;

std::shared_ptr<const Credentials> Credentials::Load(const CredentialSource& source, Time now) {
  CredentialFiles files;
  ReadCredentialFiles(source.directory, files);
  const auto path = [&](std::string_view name) {
    return source.directory + "/" + std::string(name);
  };
  const std::string chain_file = path(files.layout->chain);
  Digest digest;
  for (const std::string* text : {&files.chain, &files.key, &files.roots}) digest.Add(*text);

  auto chain = About(chain_file, [&] { return ReadCertificates(files.chain); });
  auto state =
      About(chain_file, [&] { return std::make_unique<State>(SvidId(chain.front().get())); });
  state->chain = std::move(chain);
  state->writer = files.layout->writer;
  X509* leaf = state->chain.front().get();
  About(path(files.layout->key), [&] {
    state->key = ReadPrivateKey(files.key);
    if (X509_check_private_key(leaf, state->key.get()) == 1) return;
    ERR_clear_error();
    throw std::invalid_argument("the key is not that of the certificate in " +
                                std::string(files.layout->chain));
  });
  TrustRoots own = About(path(files.layout->roots),
                         [&] { return MakeTrustRoots(ReadCertificates(files.roots)); });
  About(chain_file, [&] {
    state->not_before = NotBefore(leaf);
    state->not_after = NotAfter(leaf);
    RequireChain(own, leaf, StackOf(state->chain).get(), now);
  });
  state->roots.emplace(state->id.trust_domain(), std::move(own));

  for (const TrustBundle& bundle : source.bundles) {
    const std::string text = ReadSmallFile(bundle.file, "read the trust bundle");
    digest.Add(bundle.trust_domain);
    digest.Add(text);
    About(bundle.file, [&] {
      if (!IsTrustDomain(bundle.trust_domain)) {
        throw std::invalid_argument("\"" + bundle.trust_domain + "\" is no trust domain");
      }
      if (!state->roots.emplace(bundle.trust_domain, MakeTrustRoots(ReadCertificates(text)))
               .second) {
        throw std::invalid_argument("there is another bundle for " + bundle.trust_domain);
      }
    });
  }
  state->digest = digest.Finish();
  return std::shared_ptr<const Credentials>(new Credentials(std::move(state)));
}

const SpiffeId& Credentials::id() const { return state_->id; }
Credentials::Time Credentials::not_before() const { return state_->not_before; }
Credentials::Time Credentials::not_after() const { return state_->not_after; }
std::string_view Credentials::writer() const { return state_->writer; }
const std::array<std::uint8_t, 32>& Credentials::digest() const { return state_->digest; }

std::vector<std::string> Credentials::trust_domains() const {
  std::vector<std::string> out;
  for (const auto& [domain, roots] : state_->roots) out.push_back(domain);
  return out;
}

PeerVerdict Credentials::VerifyPeer(std::span<const std::span<const std::uint8_t>> chain,
                                    Time now) const {
  try {
    if (chain.empty()) throw std::invalid_argument("the peer has no certificate");
    if (chain.size() > kMaxChain) throw std::invalid_argument("the peer's chain is too long");
    std::vector<UniqueX509> certificates;
    for (const std::span<const std::uint8_t> der : chain) {
      const unsigned char* at = der.data();
      UniqueX509 certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
      ERR_clear_error();
      if (!certificate || at != der.data() + der.size()) {
        throw std::invalid_argument("a certificate of the peer cannot be read");
      }
      certificates.push_back(std::move(certificate));
    }
    return VerifyPeer(certificates.front().get(), StackOf(certificates).get(), now);
  } catch (const std::invalid_argument& error) {
    return {.id = std::nullopt, .why = error.what()};
  }
}

PeerVerdict Credentials::VerifyPeer(x509_st* leaf, stack_st_X509* others, Time now) const {
  try {
    if (others != nullptr && sk_X509_num(others) > static_cast<int>(kMaxChain)) {
      throw std::invalid_argument("the peer's chain is too long");
    }
    SpiffeId id = SvidId(leaf);
    const auto roots = state_->roots.find(id.trust_domain());
    if (roots == state_->roots.end()) {
      throw std::invalid_argument("unknown trust domain " + std::string(id.trust_domain()));
    }
    RequireChain(roots->second, leaf, others, now);
    return {.id = std::move(id), .why = {}};
  } catch (const std::invalid_argument& error) {
    return {.id = std::nullopt, .why = error.what()};
  }
}

bool Credentials::PresentIn(ssl_ctx_st* context) const {
  const bool taken =
      SSL_CTX_use_cert_and_key(context, state_->chain.front().get(), state_->key.get(),
                               StackOf(state_->chain).get(), 1) == 1;
  ERR_clear_error();
  return taken;
}

}  // namespace sluice::tls
