// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nftables/message.h"

// Comments of rules, as nft(8) keeps them. Pure.
namespace sluice::nftables {

// The maximum length of a rule comment in nft(8) (NFTNL_UDATA_COMMENT_MAXLEN of
// libnftnl/udata.h).
inline constexpr std::size_t kMostCommentBytes = 128;

// `text` as a rule comment: shortened, and without characters that nft cannot read in quotes.
std::string ToComment(std::string_view text);

// The NFTA_RULE_USERDATA content for `comment`, and the comment in such content; empty if there is
// none.
std::vector<std::uint8_t> EncodeComment(std::string_view comment);
std::string DecodeComment(Bytes userdata);

}  // namespace sluice::nftables
