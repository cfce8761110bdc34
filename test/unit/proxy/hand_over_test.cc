// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/hand_over.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

std::string Name() { return "sluice-test-hand-over/" + std::to_string(::getpid()); }

UniqueFd Listener() {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::listen(fd.get(), 1), 0);  // on any port
  return fd;
}

std::uint16_t PortOf(int fd) {
  sockaddr_in address{};
  socklen_t length = sizeof(address);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  return address.sin_port;
}

// Serves until there is news.
HandOver::News ServeUntilNews(HandOver& old, const std::vector<int>& listeners) {
  while (true) {
    auto awaited = old.Awaited();
    if (::poll(awaited.data(), awaited.size(), 30'000) <= 0) return HandOver::News::kNone;
    const HandOver::News news = old.Serve(listeners);
    if (news != HandOver::News::kNone) return news;
  }
}

// More than fit into one message.
TEST(HandOver, GivesTheSocketsAndHearsThatTheyAreTaken) {
  std::vector<UniqueFd> mine;
  std::vector<int> listeners;
  for (int i = 0; i < 450; ++i) listeners.push_back(mine.emplace_back(Listener()).get());
  HandOver old(Name(), UniqueFd());
  ASSERT_TRUE(old.possible());
  EXPECT_FALSE(HandOver(Name(), UniqueFd()).possible()) << "the name is taken";
  auto asked = std::async(std::launch::async, [] {
    auto before = Predecessor::Ask(Name());
    if (before) before->Taken(false);
    return before;
  });
  EXPECT_EQ(ServeUntilNews(old, listeners), HandOver::News::kTaken);
  auto before = asked.get();
  ASSERT_TRUE(before);
  EXPECT_EQ(before->pid(), ::getpid());
  ASSERT_EQ(before->listeners().size(), listeners.size());
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    EXPECT_NE(before->listeners()[i].get(), listeners[i]);
    EXPECT_EQ(PortOf(before->listeners()[i].get()), PortOf(listeners[i]));
  }
  // The next one asks the one that took them.
  HandOver next(Name(), std::move(before->asked_on()));
  auto asked_again = std::async(std::launch::async, [] {
    auto found = Predecessor::Ask(Name());
    if (found) found->Taken(true);
    return found.has_value();
  });
  EXPECT_EQ(ServeUntilNews(next, listeners), HandOver::News::kStop);
  EXPECT_TRUE(asked_again.get());
}

TEST(HandOver, WhoGoesAwayWithoutAWordChangesNothing) {
  const UniqueFd listener = Listener();
  HandOver old(Name(), UniqueFd());
  for (int i = 0; i < 2; ++i) {
    auto asked = std::async(std::launch::async, [] {
      return Predecessor::Ask(Name()).has_value();  // but could not start
    });
    while (asked.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      auto awaited = old.Awaited();
      ::poll(awaited.data(), awaited.size(), 10);
      EXPECT_EQ(old.Serve({listener.get()}), HandOver::News::kNone);
    }
    EXPECT_TRUE(asked.get());
    // Its end is noticed.
    EXPECT_EQ(old.Serve({listener.get()}), HandOver::News::kNone);
  }
  EXPECT_TRUE(old.possible());
}

TEST(HandOver, NobodyAnswers) { EXPECT_FALSE(Predecessor::Ask(Name() + "/nobody")); }

}  // namespace
}  // namespace sluice::proxy
