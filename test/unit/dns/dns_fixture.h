// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dns/message.h"
#include "dns/wire.h"

// DNS messages in readable form, built by hand: the code under test must not write the messages
// with which it is tested.
namespace sluice::dns {

inline void Put16(DnsBytes& out, unsigned value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value & 0xff));
}

inline void Put32(DnsBytes& out, std::uint32_t value) {
  Put16(out, value >> 16);
  Put16(out, value & 0xffff);
}

// "a.example" as labels.
inline std::string WireName(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    out.push_back(static_cast<char>(label.size()));
    out += label;
    name.remove_prefix(std::min(label.size() + 1, name.size()));
  }
  out.push_back('\0');
  return out;
}

inline constexpr std::uint16_t kTypeA = 1;
inline constexpr std::uint16_t kTypeCname = 5;
inline constexpr std::uint16_t kTypeTxt = 16;
inline constexpr std::uint16_t kClassIn = 1;

struct TestRecord {
  std::string owner;  // wire format, may have pointers
  std::uint16_t type = kTypeA;
  std::uint32_t ttl = 0;
  DnsBytes data = {192, 0, 2, 1};
  std::uint16_t rclass = kClassIn;
};

// Most answers use this owner: a pointer to the question's name.
inline const std::string kAtQuestion = "\xc0\x0c";

inline TestRecord TestSoa(std::uint32_t ttl, std::uint32_t minimum) {
  TestRecord soa{.owner = kAtQuestion, .type = dns_type::kSoa, .ttl = ttl, .data = {}};
  for (const std::string& name : {std::string("\2ns") + kAtQuestion, WireName("root.example")}) {
    soa.data.insert(soa.data.end(), name.begin(), name.end());
  }
  for (const std::uint32_t number : {2026U, 3600U, 600U, 86400U, minimum}) {
    Put32(soa.data, number);
  }
  return soa;
}

inline TestRecord TestOpt(std::uint16_t udp_bytes, std::uint32_t ttl_field = 0) {
  return {.owner = std::string(1, '\0'),
          .type = dns_type::kOpt,
          .ttl = ttl_field,
          .data = {},
          .rclass = udp_bytes};
}

struct TestMessage {
  std::uint16_t id = 0x1234;
  std::uint16_t flags = dns_flag::kRecursionDesired;
  std::string name = "a.example";  // "-" means no question
  std::uint16_t type = kTypeA;
  std::vector<TestRecord> answers = {};
  std::vector<TestRecord> authorities = {};
  std::vector<TestRecord> additionals = {};

  DnsBytes Bytes() const {
    DnsBytes out;
    const bool asks = name != "-";
    for (const std::size_t number : {std::size_t{id}, std::size_t{flags}, std::size_t{asks},
                                     answers.size(), authorities.size(), additionals.size()}) {
      Put16(out, static_cast<unsigned>(number));
    }
    if (asks) {
      const std::string wire = WireName(name);
      out.insert(out.end(), wire.begin(), wire.end());
      Put16(out, type);
      Put16(out, kClassIn);
    }
    for (const auto* section : {&answers, &authorities, &additionals}) {
      for (const TestRecord& record : *section) {
        out.insert(out.end(), record.owner.begin(), record.owner.end());
        Put16(out, record.type);
        Put16(out, record.rclass);
        Put32(out, record.ttl);
        Put16(out, static_cast<unsigned>(record.data.size()));
        out.insert(out.end(), record.data.begin(), record.data.end());
      }
    }
    return out;
  }
};

inline constexpr std::uint16_t kAnswerFlags =
    dns_flag::kResponse | dns_flag::kRecursionDesired | dns_flag::kRecursionAvailable;

inline TestRecord TestA(std::uint32_t ttl) { return {.owner = kAtQuestion, .ttl = ttl}; }

}  // namespace sluice::dns
