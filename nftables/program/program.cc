// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/program/program.h"

#include <cstring>

namespace sluice::nftables {
namespace {

template <typename T>
T FromBytes(const Data& data) {
  T value;
  std::memcpy(&value, data.bytes.data(), sizeof(value));
  return value;
}

template <typename T>
Data ToBytes(T value) {
  Data data;
  data.size = sizeof(value);
  std::memcpy(data.bytes.data(), &value, sizeof(value));
  return data;
}

}  // namespace

Data Data::U8(std::uint8_t value) { return ToBytes(value); }
Data Data::Host16(std::uint16_t value) { return ToBytes(value); }
Data Data::Host32(std::uint32_t value) { return ToBytes(value); }
Data Data::BigEndian16(std::uint16_t value) {
  const std::array<std::uint8_t, 2> bytes = {static_cast<std::uint8_t>(value >> 8U),
                                             static_cast<std::uint8_t>(value & 0xffU)};
  return Data(bytes);
}
std::uint32_t Data::AsHost32() const { return FromBytes<std::uint32_t>(*this); }
std::uint16_t Data::AsHost16() const { return FromBytes<std::uint16_t>(*this); }
std::uint16_t Data::AsBigEndian16() const {
  return static_cast<std::uint16_t>(bytes[0] << 8U | bytes[1]);
}

std::string ChainName(capture::Table table, std::string_view chain) {
  return std::string(Name(table)) + "/" + std::string(chain);
}

std::optional<std::pair<capture::Table, std::string>> ParseChainName(std::string_view name) {
  for (const capture::Table table : capture::kTables) {
    const std::string_view prefix = Name(table);
    if (name.starts_with(prefix) && name.substr(prefix.size()).starts_with('/')) {
      return std::pair(table, std::string(name.substr(prefix.size() + 1)));
    }
  }
  return {};
}

}  // namespace sluice::nftables
