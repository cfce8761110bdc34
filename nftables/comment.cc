// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/comment.h"

namespace sluice::nftables {
namespace {

// nft(8) keeps a list of items with each rule: a byte for the type, one for the length, and the
// value. A comment includes its NUL.
constexpr std::uint8_t kCommentItem = 0;  // NFTNL_UDATA_RULE_COMMENT

}  // namespace

std::string ToComment(std::string_view text) {
  constexpr std::string_view kMore = "...";
  std::string out(text.substr(0, kMostCommentBytes));
  if (text.size() > out.size()) out.replace(out.size() - kMore.size(), kMore.size(), kMore);
  for (char& c : out) {
    if (c < ' ' || c > '~' || c == '"') c = '?';
  }
  return out;
}

std::vector<std::uint8_t> EncodeComment(std::string_view comment) {
  if (comment.empty()) return {};
  std::vector<std::uint8_t> out = {kCommentItem, static_cast<std::uint8_t>(comment.size() + 1)};
  out.insert(out.end(), comment.begin(), comment.end());
  out.push_back(0);
  return out;
}

std::string DecodeComment(Bytes userdata) {
  while (userdata.size() >= 2 && userdata.size() >= 2U + userdata[1]) {
    const Bytes value = userdata.subspan(2, userdata[1]);
    if (userdata[0] == kCommentItem) return std::string(Attribute{.value = value}.Text());
    userdata = userdata.subspan(2 + value.size());
  }
  return {};
}

}  // namespace sluice::nftables
