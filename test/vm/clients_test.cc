// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// A client that nobody here wrote, through the proxies of two pods, on another kernel and
// processor: curl (test/vm/run --with /usr/bin/curl), and the server of busybox.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"

namespace sluice::testing_support {
namespace {

constexpr std::uint16_t kHttpPort = 8080;
constexpr std::size_t kPageBytes = 3U << 20U;  // more than the sockets' buffers hold

class CurlTest : public ProxyTest {
 protected:
  void SetUp() override {
    ProxyTest::SetUp();
    std::filesystem::create_directory(directory_);
    for (std::size_t i = 0; page_.size() < kPageBytes; ++i) page_ += std::to_string(i) + "\n";
    ASSERT_TRUE(std::ofstream(directory_ + "/page") << page_ << std::flush);
  }
  ~CurlTest() override { std::filesystem::remove_all(directory_); }

  // curl gets the page, and both proxies know where it was going.
  void GetThePage(const std::vector<std::string>& flags) {
    StartProxies(flags);
    const Process httpd(server(), {.argv = {"/bin/busybox", "httpd", "-f", "-p",
                                            std::to_string(kHttpPort), "-h", directory_}});
    ASSERT_TRUE(Eventually([&] {
      return Peer::Connect(server(), {IpAddress::Parse("127.0.0.1"), kHttpPort}).has_value();
    })) << httpd.Err();
    const SocketAddress there = ServerAt(kHttpPort);
    const CommandResult got =
        RunCommand(client(), {.argv = {"curl", "-sS", "-g", "http://" + there.ToString() + "/page"},
                              .who = kApplication});
    EXPECT_EQ(got.exit_status, 0) << got.err;
    EXPECT_TRUE(got.out == page_) << got.out.size() << " bytes";
    for (ProxyProcess* const proxy : {client_proxy_.get(), server_proxy_.get()}) {
      EXPECT_GE(proxy->LogLineTo(there).at("bytes_sent").to_number<std::size_t>(), page_.size());
    }
  }

  std::string page_;

 private:
  const std::string directory_ = testing::TempDir() + "sluice-curl-" + std::to_string(::getpid());
};

INSTANTIATE_TEST_SUITE_P(, CurlTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(CurlTest, GetsAPage) { GetThePage({}); }
TEST_P(CurlTest, GetsAPageByHttp) {
  GetThePage({"--http=auto"});
  EXPECT_EQ(Text(client_proxy_->LogLineTo(ServerAt(kHttpPort)), "path"), "/page");
}

}  // namespace
}  // namespace sluice::testing_support
