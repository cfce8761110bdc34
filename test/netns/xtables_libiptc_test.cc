// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// libiptc, which iptables uses, is the judge of the tables that Sluice writes: the same edit has
// the same bytes, and everybody's rules and counters stay.

#include <libiptc/libiptc.h>
// Unlike libiptc.h, libip6tc.h lacks its own extern "C".
extern "C" {
#include <libiptc/libip6tc.h>
}

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "iptables/layout/xt_entry.h"
#include "iptables/xt_socket.h"
#include "test/support/command.h"
#include "test/support/in_namespace.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using iptables::XtBlob;
using iptables::XtChain;
using iptables::XtRule;
using iptables::XtSocket;
using iptables::XtTable;

// libiptc has the same functions for both families, under different names.
struct V4 {
  using Entry = ipt_entry;
  static constexpr Family kFamily = Family::kIpv4;
  static constexpr auto* init = iptc_init;
  static constexpr auto* free = iptc_free;
  static constexpr auto* first_chain = iptc_first_chain;
  static constexpr auto* next_chain = iptc_next_chain;
  static constexpr auto* first_rule = iptc_first_rule;
  static constexpr auto* next_rule = iptc_next_rule;
  static constexpr auto* get_target = iptc_get_target;
  static constexpr auto* get_policy = iptc_get_policy;
  static constexpr auto* builtin = iptc_builtin;
  static constexpr auto* create_chain = iptc_create_chain;
  static constexpr auto* append_entry = iptc_append_entry;
  static constexpr auto* insert_entry = iptc_insert_entry;
  static constexpr auto* commit = iptc_commit;
};
struct V6 {
  using Entry = ip6t_entry;
  static constexpr Family kFamily = Family::kIpv6;
  static constexpr auto* init = ip6tc_init;
  static constexpr auto* free = ip6tc_free;
  static constexpr auto* first_chain = ip6tc_first_chain;
  static constexpr auto* next_chain = ip6tc_next_chain;
  static constexpr auto* first_rule = ip6tc_first_rule;
  static constexpr auto* next_rule = ip6tc_next_rule;
  static constexpr auto* get_target = ip6tc_get_target;
  static constexpr auto* get_policy = ip6tc_get_policy;
  static constexpr auto* builtin = ip6tc_builtin;
  static constexpr auto* create_chain = ip6tc_create_chain;
  static constexpr auto* append_entry = ip6tc_append_entry;
  static constexpr auto* insert_entry = ip6tc_insert_entry;
  static constexpr auto* commit = ip6tc_commit;
};

// Everybody's rules: verdicts, jumps forward and back, goto, a rule that only counts, extensions
// with state of their own, a policy, and counters.
constexpr std::string_view kForeign =
    "*nat\n"
    ":PREROUTING ACCEPT [11:660]\n"
    ":INPUT ACCEPT [0:0]\n"
    ":OUTPUT DROP [22:1320]\n"
    ":POSTROUTING ACCEPT [33:1980]\n"
    ":ZEBRA - [0:0]\n"
    ":APPLE - [0:0]\n"
    ":MANGO-WITH-A-NAME-OF-28-CHRS - [0:0]\n"
    "[1:60] -A PREROUTING -p tcp -m multiport --dports 80,443 -j APPLE\n"
    "[2:120] -A OUTPUT -p udp -m limit --limit 5/sec -j ZEBRA\n"
    "[3:180] -A OUTPUT -m comment --comment \"only counts\"\n"
    "[4:240] -A OUTPUT -g MANGO-WITH-A-NAME-OF-28-CHRS\n"
    "[5:300] -A ZEBRA -j APPLE\n"
    "[6:360] -A APPLE -p tcp -m tcp --dport 53 -j REDIRECT --to-ports 5353\n"
    "[7:420] -A APPLE -j RETURN\n"
    "[8:480] -A MANGO-WITH-A-NAME-OF-28-CHRS -j ACCEPT\n"
    "COMMIT\n";

template <typename Api>
class LibiptcJudges : public testing::Test {
 protected:
  static constexpr Family kFamily = Api::kFamily;

  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    for (const netns::Namespace* each : {&ours_.pod(), &theirs_.pod()}) {
      const std::string tool = Tool("restore");
      ASSERT_EQ(
          RunCommand(*each, {.argv = {tool, "-c"}, .input = std::string(kForeign)}).exit_status, 0);
    }
  }

  static std::string Tool(const std::string& name) {
    return (kFamily == Family::kIpv4 ? "iptables-legacy-" : "ip6tables-legacy-") + name;
  }

  // With counters, without the times in comments.
  static std::string Saved(const netns::Namespace& where) {
    std::string out;
    std::istringstream lines(RunCommand(where, {.argv = {Tool("save"), "-c", "-t", "nat"}}).out);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with('#')) out += line + "\n";
    }
    return out;
  }

  static XtBlob Read(const netns::Namespace& where) {
    return CallIn(where, kRoot, [] {
      XtBlob blob;
      EXPECT_EQ(XtSocket(kFamily).Read("nat", blob), 0);
      return blob;
    });
  }

  static void Write(const netns::Namespace& where, const std::function<void(XtTable&)>& edit) {
    RunIn(where, kRoot, [&edit] {
      const XtSocket socket(XtSocket::AsIptables{}, kFamily);
      XtBlob blob;
      ASSERT_EQ(socket.Read("nat", blob), 0);
      auto table = XtTable::Parse(blob, kFamily);
      ASSERT_TRUE(table);
      edit(*table);
      const auto image = table->Build();
      ASSERT_TRUE(image);
      ASSERT_EQ(socket.Replace("nat", *image, blob.entry_count), 0);
    });
  }

  static XtRule RuleOf(const capture::Rule& rule) {
    return {.entry = iptables::EncodeEntry(rule, kFamily),
            .target = iptables::TargetName(rule.target)};
  }

  // An entry for libiptc has the name of the verdict or chain.
  static std::vector<std::byte> WithName(const XtRule& rule) {
    std::vector<std::byte> entry = rule.entry;
    typename Api::Entry header;
    std::memcpy(&header, entry.data(), sizeof(header));
    char* const name = reinterpret_cast<char*>(entry.data()) + header.target_offset + 2;
    if (*name == '\0') std::strcpy(name, rule.target.c_str());
    return entry;
  }

  PodNetwork ours_;
  PodNetwork theirs_;
};

using Families = testing::Types<V4, V6>;
struct FamilyNames {
  template <typename Api>
  static std::string GetName(int) {
    return std::string(Name(Api::kFamily));
  }
};
TYPED_TEST_SUITE(LibiptcJudges, Families, FamilyNames);

TYPED_TEST(LibiptcJudges, EverybodysRulesAndCountersComeBackAsTheyWere) {
  const auto& pod = this->ours_.pod();
  const std::string before = this->Saved(pod);
  EXPECT_THAT(before, testing::HasSubstr("[3:180] -A OUTPUT -m comment"));
  this->Write(pod, [](XtTable&) {});
  EXPECT_EQ(this->Saved(pod), before);
}

TYPED_TEST(LibiptcJudges, ReadsTheSameChainsAndTargets) {
  const auto table = XtTable::Parse(this->Read(this->ours_.pod()), this->kFamily);
  ASSERT_TRUE(table);
  RunIn(this->ours_.pod(), kRoot, [&table] {
    xtc_handle* const handle = TypeParam::init("nat");
    ASSERT_NE(handle, nullptr);
    std::size_t chains = 0;
    for (const char* name = TypeParam::first_chain(handle); name != nullptr;
         name = TypeParam::next_chain(handle)) {
      ++chains;
      const XtChain* const chain = table->Find(name);
      ASSERT_NE(chain, nullptr) << name;
      EXPECT_EQ(chain->hook.has_value(), TypeParam::builtin(name, handle) != 0) << name;
      if (chain->hook) {
        xt_counters counters;
        EXPECT_EQ(chain->policy.target, TypeParam::get_policy(name, &counters, handle)) << name;
        EXPECT_EQ(chain->policy.counters.start.packets, counters.pcnt) << name;
      }
      std::size_t rules = 0;
      for (auto* entry = TypeParam::first_rule(name, handle); entry != nullptr;
           entry = TypeParam::next_rule(entry, handle), ++rules) {
        ASSERT_LT(rules, chain->rules.size()) << name;
        EXPECT_EQ(chain->rules[rules].target, TypeParam::get_target(entry, handle)) << name;
        EXPECT_EQ(chain->rules[rules].entry.size(), entry->next_offset) << name;
        EXPECT_EQ(chain->rules[rules].counters.start.packets, entry->counters.pcnt) << name;
      }
      EXPECT_EQ(rules, chain->rules.size()) << name;
    }
    EXPECT_EQ(chains, 7U);
    TypeParam::free(handle);
  });
}

TYPED_TEST(LibiptcJudges, TheSameEditHasTheSameBytes) {
  const XtRule redirect =
      this->RuleOf({.protocol = capture::Protocol::kTcp,
                    .matches = {capture::OwnerMatch{.uid = capture::Not(1337U)}},
                    .target = capture::Redirect{15001}});
  const XtRule leave = this->RuleOf({.target = capture::Return{}});
  const XtRule jump = this->RuleOf({.target = capture::Jump{"MIDDLE"}});
  this->Write(this->ours_.pod(), [&](XtTable& table) {
    table.Create("MIDDLE");
    table.Find("MIDDLE")->rules = {redirect, leave};
    std::vector<XtRule>& output = table.Find("OUTPUT")->rules;
    output.insert(output.begin() + 1, jump);
  });
  RunIn(this->theirs_.pod(), kRoot, [&] {
    xtc_handle* const handle = TypeParam::init("nat");
    ASSERT_NE(handle, nullptr);
    xt_chainlabel middle = "MIDDLE";
    xt_chainlabel output = "OUTPUT";
    const auto entry = [](const std::vector<std::byte>& bytes) {
      return reinterpret_cast<const typename TypeParam::Entry*>(bytes.data());
    };
    ASSERT_EQ(TypeParam::create_chain(middle, handle), 1);
    for (const XtRule& rule : {redirect, leave}) {
      ASSERT_EQ(TypeParam::append_entry(middle, entry(this->WithName(rule)), handle), 1);
    }
    ASSERT_EQ(TypeParam::insert_entry(output, entry(this->WithName(jump)), 1, handle), 1);
    ASSERT_EQ(TypeParam::commit(handle), 1);
    TypeParam::free(handle);
  });
  EXPECT_TRUE(
      SameRules(this->Read(this->ours_.pod()), this->Read(this->theirs_.pod()), this->kFamily));
  // libiptc forgets what policies have counted; see the first test.
  const auto without_policies = [](std::string saved) {
    return saved.substr(saved.find(":APPLE"));
  };
  EXPECT_EQ(without_policies(this->Saved(this->ours_.pod())),
            without_policies(this->Saved(this->theirs_.pod())));
}

// The kernel compares the number of entries.
TYPED_TEST(LibiptcJudges, ATableWithMoreRulesByNowIsNotReplaced) {
  RunIn(this->ours_.pod(), kRoot, [this] {
    const XtSocket socket(XtSocket::AsIptables{}, this->kFamily);
    XtBlob blob;
    ASSERT_EQ(socket.Read("nat", blob), 0);
    const auto image = XtTable::Parse(blob, this->kFamily).value().Build();
    this->Write(this->ours_.pod(), [this](XtTable& table) {
      table.Find("OUTPUT")->rules.push_back(this->RuleOf({.target = capture::Accept{}}));
    });
    const std::string before = this->Saved(this->ours_.pod());
    EXPECT_EQ(socket.Replace("nat", *image, blob.entry_count), EAGAIN);
    EXPECT_EQ(this->Saved(this->ours_.pod()), before);
  });
}

}  // namespace
}  // namespace sluice::testing_support
