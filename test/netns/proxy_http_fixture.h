// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <poll.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "base/error.h"
#include "test/netns/proxy_fixture.h"

// What the tests of HTTP share: servers, and curl.
namespace sluice::testing_support {

inline constexpr std::uint16_t kPort = 8080;  // of http_server.py

// The value of a header in what /headers has answered; the last one.
inline std::string Header(const std::string& json, std::string_view name) {
  std::string value;
  const boost::json::value parsed = boost::json::parse(json);
  for (const auto& pair : parsed.as_array()) {
    if (pair.at(0).as_string() == name) value = pair.at(1).as_string();
  }
  return value;
}

class HttpTest : public ProxyTest {
 protected:
  void StartHttp() { StartProxies({"--http=auto"}); }
  std::string AnyAddress() const { return GetParam() == Family::kIpv4 ? "0.0.0.0" : "::"; }
  Process StartPython() const {
    Process python(server(), {.argv = {"/usr/bin/python3", SLUICE_HTTP_SERVER, AnyAddress()}});
    EXPECT_TRUE(python.WaitForText("listening", kPatience)) << python.Err();
    return python;
  }
  std::string Url(std::string_view path, std::uint16_t port = kPort) const {
    return "http://" + ServerAt(port).ToString() + std::string(path);
  }
  CommandResult Curl(std::vector<std::string> words, const std::string& input = {}) const {
    std::vector<std::string> argv = {"curl", "-sS", "-g", "--max-time", "60"};
    argv.insert(argv.end(), words.begin(), words.end());
    return RunCommand(client(), {.argv = argv, .input = input, .who = kApplication});
  }
  static auto RequestTo(std::string path) {
    return [path = std::move(path)](const boost::json::object& line) {
      return Text(line, "path") == path;
    };
  }
  static bool IsReached(const Acceptor& acceptor) {
    pollfd ready{.fd = acceptor.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&ready, 1, 0) > 0;
  }
};

// nginx, with a directory of its own; `listen`: as in its configuration.
class Nginx {
 public:
  Nginx(const netns::Namespace& where, const std::string& listen)
      : directory_(std::filesystem::temp_directory_path() / "sluice-nginx-XXXXXX") {
    if (::mkdtemp(directory_.data()) == nullptr) throw SystemError(errno, "make", directory_);
    std::filesystem::permissions(directory_, std::filesystem::perms(0755));
    std::ofstream(directory_ + "/nginx.conf")
        << "daemon off; master_process off; worker_processes 1; pid " << directory_
        << "/pid; error_log " << directory_ << "/error.log;\n"
        << "events {} http { log_format asked 'asked for $request'; access_log " << directory_
        << "/access.log asked; client_body_temp_path " << directory_ << "/body; proxy_temp_path "
        << directory_ << "/proxy; fastcgi_temp_path " << directory_ << "/fcgi; uwsgi_temp_path "
        << directory_ << "/uwsgi; scgi_temp_path " << directory_ << "/scgi; server { " << listen
        << " root " << directory_ << "; } }\n";
    process_.emplace(where, Command{.argv = {"nginx", "-c", directory_ + "/nginx.conf"}});
  }
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;
  ~Nginx() {
    process_.reset();
    std::filesystem::remove_all(directory_);
  }
  void Serve(std::string_view name, std::string_view content) const {
    std::ofstream(directory_ + "/" + std::string(name)) << content;
  }
  std::string Err() const { return process_->Err(); }
  // The requests so far.
  std::string Log() const {
    std::ifstream file(directory_ + "/access.log");
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::string directory_;
  std::optional<Process> process_;
};

}  // namespace sluice::testing_support
