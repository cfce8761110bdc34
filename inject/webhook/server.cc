// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/webhook/server.h"

#include <csignal>
#include <exception>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/error.h"
#include "inject/webhook/connection.h"
#include "inject/webhook/credentials.h"
#include "inject/webhook/log.h"

namespace sluice::inject::webhook {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using std::chrono::seconds;

// For requests in progress when the drain ends.
constexpr seconds kLastTimeout{10};
// A check is two reads. The kubelet takes up to a minute to update a Secret.
constexpr seconds kReloadInterval{2};
// After accept failed for lack of descriptors.
constexpr std::chrono::milliseconds kAcceptPause{200};

class Server {
 public:
  Server(const ServerOptions& options, const Decide& decide)
      : state_{
            .options = options, .decide = decide, .bodies = BodyBudget(options.max_body_memory)} {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void Run() {
    state_.credentials = MakeCredentials(ReadPem(state_.options.certificate),
                                         ReadPem(state_.options.key), state_.options.certificate);
    state_.metrics.certificate_expiry = state_.credentials->expiry;
    Listen();
    Log("info", "listening",
        {{"port", acceptor_.local_endpoint().port()}, {"version", state_.options.version}});
    Accept();
    WaitForSignal();
    WaitForReload();
    io_.run();
    Log("info", "ended");
  }

 private:
  void Listen() {
    // One socket for both families, if the kernel has both.
    tcp::endpoint endpoint(tcp::v6(), state_.options.port);
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(asio::ip::v6_only(false), error);
    if (error) {
      endpoint = tcp::endpoint(tcp::v4(), state_.options.port);
      if (acceptor_.is_open()) acceptor_.close(error);
      acceptor_.open(endpoint.protocol(), error);
    }
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      throw SystemError(error.value(), "listen", "port " + std::to_string(state_.options.port),
                        error == asio::error::address_in_use
                            ? "another process listens there; `ss -ltnp` names it"
                            : "");
    }
  }

  void Accept() {
    acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) {
        // Descriptors or memory ran out: retry later.
        pause_.expires_after(kAcceptPause);
        pause_.async_wait([this](boost::system::error_code stopped) {
          if (!stopped && acceptor_.is_open()) Accept();
        });
        return;
      }
      boost::system::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      std::make_shared<Connection>(std::move(socket), state_)->Start();
      Accept();
    });
  }

  void WaitForSignal() {
    signals_.async_wait([this](boost::system::error_code error, int signal) {
      if (error) return;
      if (signal == SIGHUP) {
        Reload();
      } else if (state_.draining) {
        return io_.stop();  // the second signal
      } else {
        Drain();
      }
      WaitForSignal();
    });
  }

  void WaitForReload() {
    reload_.expires_after(kReloadInterval);
    reload_.async_wait([this](boost::system::error_code error) {
      if (error) return;
      Reload();
      WaitForReload();
    });
  }

  void Reload() {
    std::string what;
    try {
      std::string certificate = ReadPem(state_.options.certificate);
      std::string key = ReadPem(state_.options.key);
      if (certificate == state_.credentials->certificate && key == state_.credentials->key) {
        failed_.clear();
        return;
      }
      what = certificate + key;
      state_.credentials =
          MakeCredentials(std::move(certificate), std::move(key), state_.options.certificate);
      state_.metrics.certificate_expiry = state_.credentials->expiry;
      ++state_.metrics.reloads_total;
      failed_.clear();
      Log("info", "certificate reloaded");
    } catch (const std::exception& error) {
      // A half-written file is complete next time. Each text is reported once.
      if (what.empty()) what = error.what();
      if (what == failed_) return;
      failed_ = std::move(what);
      ++state_.metrics.failed_reloads_total;
      Log("error", "the certificate stays as it was", {{"error", error.what()}});
    }
  }

  void Drain() {
    Log("info", "draining");
    state_.draining = true;
    drain_.expires_after(state_.options.drain);
    drain_.async_wait([this](boost::system::error_code error) {
      if (!error) End();
    });
  }

  // Finishes the requests in progress, and accepts no others.
  void End() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    reload_.cancel();
    state_.ending = true;
    const std::list<Connection*> open = state_.open;
    for (Connection* const each : open) each->EndWhenIdle();
    last_.expires_after(kLastTimeout);
    last_.async_wait([this](boost::system::error_code error) {
      if (!error) io_.stop();
    });
    WaitForLast();
  }

  void WaitForLast() {
    if (state_.open.empty()) {
      // With nothing left to wait for, the loop ends.
      boost::system::error_code ignored;
      signals_.cancel(ignored);
      last_.cancel();
      return;
    }
    drain_.expires_after(std::chrono::milliseconds(20));
    drain_.async_wait([this](boost::system::error_code error) {
      if (!error) WaitForLast();
    });
  }

  // Declared before the loop, which destroys connections that use it.
  ServerState state_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::signal_set signals_{io_, SIGTERM, SIGINT, SIGHUP};
  asio::steady_timer pause_{io_};
  asio::steady_timer reload_{io_};
  asio::steady_timer drain_{io_};
  asio::steady_timer last_{io_};
  std::string failed_;
};

}  // namespace

void Serve(const ServerOptions& options, const Decide& decide) { Server(options, decide).Run(); }

}  // namespace sluice::inject::webhook
