// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/model/reader.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "base/error.h"

namespace sluice::nftables {
namespace {

using Add = void (*)(Ruleset&, std::uint8_t, Bytes);

// False if the rule set changed during the read.
bool ReadOnce(Kernel& kernel, Ruleset& out) {
  const auto dump = [&](int message, Add add) {
    return kernel.DumpAll(message, NFPROTO_UNSPEC, {}, [&](std::uint8_t family, Bytes attributes) {
      add(out, family, attributes);
    });
  };
  if (!dump(NFT_MSG_GETTABLE, AddTable) || !dump(NFT_MSG_GETCHAIN, AddChain) ||
      !dump(NFT_MSG_GETRULE, AddRule) || !dump(NFT_MSG_GETSET, AddSet)) {
    return false;
  }
  for (RawTable& table : out.tables) {
    // Elements are requested set by set. The vector does not change meanwhile.
    for (const RawSet& set : table.sets) {
      const auto fill = [&](MessageWriter& request) {
        request.PutText(NFTA_SET_ELEM_LIST_TABLE, table.name);
        request.PutText(NFTA_SET_ELEM_LIST_SET, set.name);
      };
      if (!kernel.DumpAll(NFT_MSG_GETSETELEM, table.family, fill,
                          [&](std::uint8_t family, Bytes attributes) {
                            AddElements(out, family, attributes);
                          })) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

Ruleset ReadRuleset(Kernel& kernel) {
  constexpr int kAttempts = 10;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Ruleset out;
    const std::uint32_t before = kernel.Generation();
    if (ReadOnce(kernel, out) && kernel.Generation() == before) return out;
  }
  throw Error(ErrorKind::kFailed, {.doing = "read the rules of nf_tables",
                                   .target = {},
                                   .why = "another program keeps changing them",
                                   .help = "find out which, and run again"});
}

}  // namespace sluice::nftables
