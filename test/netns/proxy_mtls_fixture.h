// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"
#include "test/unit/mtls/credential_directory.h"

namespace sluice::testing_support {

using tls::CredentialDirectory;
using tls::TestIdentity;
using tls::Workload;

inline constexpr const char* kCart = "spiffe://cluster.local/ns/shop/sa/cart";
inline constexpr const char* kTill = "spiffe://cluster.local/ns/shop/sa/till";

// Two pods, cart (the server) and till (the client), with certificates of one authority. Programs
// that are not ours run as the proxy's user, whose connections the rules of their own pod leave
// alone.
class MtlsTest : public ProxyTest {
 protected:
  void StartStrict(const std::vector<std::string>& more = {}) {
    std::vector<std::string> flags = {"--mtls-credentials=" + cart_files_.path(),
                                      "--mtls-inbound=strict",
                                      "--mtls-allow=spiffe://cluster.local/ns/shop/sa/*"};
    flags.insert(flags.end(), more.begin(), more.end());
    StartServerProxy(flags);
  }
  // The client pod's proxy speaks mutual TLS to whom `rules` name.
  void StartOutbound(const std::string& rules, const std::vector<std::string>& more = {}) {
    till_files_.Write("rules", rules);
    std::vector<std::string> flags = {"--mtls-credentials=" + till_files_.path(),
                                      "--mtls-outbound=" + till_files_.File("rules")};
    flags.insert(flags.end(), more.begin(), more.end());
    StartClientProxy(flags);
  }
  std::string RuleTo(std::uint16_t port, const std::string& who) const {
    return ServerAt(port).ip.ToString() + " " + std::to_string(port) + " " + who + "\n";
  }
  // openssl s_client that says "hello", and shows the chain that it gets.
  Process Client(std::uint16_t port, const std::optional<std::string>& files,
                 const std::vector<std::string>& more = {}) const {
    std::vector<std::string> argv = {
        "openssl",    "s_client", "-connect", ServerAt(port).ToString(),
        "-showcerts", "-ign_eof", "-alpn",    "istio"};
    if (files) {
      const std::string& path = *files;
      for (const std::string& word :
           {std::string("-cert"), path + "/cert-chain.pem", std::string("-key"), path + "/key.pem",
            std::string("-CAfile"), path + "/root-cert.pem"}) {
        argv.push_back(word);
      }
    }
    argv.insert(argv.end(), more.begin(), more.end());
    return Process(client(), {.argv = argv, .input = "hello\n", .who = kProxy});
  }
  // What the client prints when the application answers it.
  std::string Served(Acceptor& acceptor, const CredentialDirectory& files) {
    Process client = Client(acceptor.port(), files.path());
    std::optional<Peer> peer = acceptor.Accept();
    EXPECT_TRUE(peer);
    if (!peer) return "";
    EXPECT_EQ(peer->Receive(6), "hello\n");
    peer->Send("welcome\n");
    peer->Close();
    return client.Wait(kPatience).out;
  }
  static bool IsReached(const Acceptor& acceptor) {
    pollfd ready{.fd = acceptor.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&ready, 1, 0) > 0;
  }
  boost::json::object FailureLine(const std::string& reason) {
    return server_proxy_->LogLine([&](const boost::json::object& line) {
      return Text(line, "downstream_transport_failure_reason").find(reason) != std::string::npos;
    });
  }

  const TestIdentity root_ = tls::Issue(tls::ValidToday(tls::TestCa("root")));
  const TestIdentity cart_ = tls::Issue(Workload(kCart), &root_);
  const TestIdentity till_ = tls::Issue(Workload(kTill), &root_);
  const CredentialDirectory cart_files_{cart_, root_.Pem()};
  const CredentialDirectory till_files_{till_, root_.Pem()};
};

}  // namespace sluice::testing_support
