// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/webhook/metrics.h"

#include <algorithm>
#include <cstdio>

namespace sluice::inject::webhook {
namespace {

std::string Number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.10g", value);
  return text.data();
}

void Head(std::string& out, const std::string& name, const char* type, const char* help) {
  out += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

void Single(std::string& out, const std::string& name, const char* type, const char* help,
            double value) {
  Head(out, name, type, help);
  out += name + " " + Number(value) + "\n";
}

}  // namespace

void Metrics::CountReview(Answer::Kind kind, std::chrono::nanoseconds took) {
  ++reviews_[static_cast<std::size_t>(kind)];
  const double seconds = std::chrono::duration<double>(took).count();
  seconds_ += seconds;
  const auto bound = std::ranges::lower_bound(kBounds, seconds);
  ++buckets_[static_cast<std::size_t>(bound - kBounds.begin())];
}

std::string Metrics::Text() const {
  std::string out;
  const std::string reviews = "sluice_webhook_reviews_total";
  Head(out, reviews, "counter", "Admission reviews by what became of them.");
  for (std::size_t i = 0; i < kKinds; ++i) {
    out += reviews + "{result=\"" + std::string(NameOf(static_cast<Answer::Kind>(i))) + "\"} " +
           std::to_string(reviews_[i]) + "\n";
  }
  const std::string duration = "sluice_webhook_review_duration_seconds";
  Head(out, duration, "histogram", "Time to answer a review, without the network.");
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBounds.size(); ++i) {
    sum += buckets_[i];
    out += duration + "_bucket{le=\"" + Number(kBounds[i]) + "\"} " + std::to_string(sum) + "\n";
  }
  sum += buckets_.back();
  out += duration + "_bucket{le=\"+Inf\"} " + std::to_string(sum) + "\n";
  out += duration + "_sum " + Number(seconds_) + "\n";
  out += duration + "_count " + std::to_string(sum) + "\n";
  const std::string responses = "sluice_webhook_http_responses_total";
  Head(out, responses, "counter", "Responses by the class of their status.");
  for (const std::size_t i : {2U, 4U, 5U}) {
    out +=
        responses + "{code=\"" + std::to_string(i) + "xx\"} " + std::to_string(statuses_[i]) + "\n";
  }
  const auto count = [](std::uint64_t value) { return static_cast<double>(value); };
  Single(out, "sluice_webhook_connections_total", "counter", "Connections accepted.",
         count(connections_total));
  Single(out, "sluice_webhook_connections_refused_total", "counter",
         "Connections closed without a request: too many, or no TLS handshake.",
         count(connections_refused_total));
  Single(out, "sluice_webhook_connections", "gauge", "Connections that are open.",
         count(connections));
  Single(out, "sluice_webhook_body_memory_bytes", "gauge",
         "Memory of requests that are being read, beyond the first 64 KiB of each.",
         count(body_memory_bytes));
  Single(out, "sluice_webhook_bodies_refused_total", "counter",
         "Requests answered 503: too many large bodies at once.", count(bodies_refused_total));
  Single(out, "sluice_webhook_certificate_reloads_total", "counter", "Certificates taken.",
         count(reloads_total));
  Single(out, "sluice_webhook_certificate_reload_failures_total", "counter",
         "Certificates that could not be taken; the old one stayed.", count(failed_reloads_total));
  Single(out, "sluice_webhook_certificate_expiry_timestamp_seconds", "gauge",
         "When the certificate in use ends.",
         static_cast<double>(certificate_expiry.time_since_epoch().count()));
  return out;
}

}  // namespace sluice::inject::webhook
