// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/cgroup_limits.h"

#include <unistd.h>

#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

class CgroupLimits : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::filesystem::path& path, const std::string& text) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << '\n';
  }
  std::optional<std::uint64_t> Read() const { return MemoryLimitBytes(root_ / "self", root_); }

  const std::filesystem::path root_ = std::filesystem::temp_directory_path() /
                                      ("sluice-cgroup-limits-" + std::to_string(::getpid()));
};

TEST_F(CgroupLimits, MemoryIsTheLeastOfTheWayUp) {
  Write("self", "0::/kubepods/pod1/proxy");
  Write("kubepods/memory.max", "1000000");
  Write("kubepods/pod1/memory.max", "500000");
  Write("kubepods/pod1/proxy/memory.max", "max");
  EXPECT_EQ(Read(), 500'000U);
}

TEST_F(CgroupLimits, MemoryIsThatOfTheContainersOwnMount) {
  // The host's path, which does not exist here.
  Write("self", "0::/kubepods/pod1/proxy");
  Write("memory.max", "134217728");
  EXPECT_EQ(Read(), 134'217'728U);
}

TEST_F(CgroupLimits, MemoryIsReadFromVersion1) {
  Write("self",
        "9:name=systemd:/\n4:cpu,memory:/pod1\n5:devices,memory-like:/pod2\n0::/unified/pod1");
  Write("memory/pod1/memory.limit_in_bytes", "16777216");
  Write("memory/pod2/memory.limit_in_bytes", "1");
  Write("memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(Read(), 16'777'216U);
}

TEST_F(CgroupLimits, MemoryIsNoneWithoutOne) {
  EXPECT_EQ(Read(), std::nullopt) << "no cgroups at all";
  Write("self", "4:memory:/\n0::/");
  Write("memory/memory.limit_in_bytes", "9223372036854771712");
  Write("memory.max", "max");
  EXPECT_EQ(Read(), std::nullopt);
}

TEST_F(CgroupLimits, CpuIsRationedByAnyOfTheWayUp) {
  const auto quota = [this] { return CpuQuota(root_ / "self", root_); };
  EXPECT_EQ(quota(), std::nullopt) << "no cgroups at all";
  Write("self", "3:cpu,cpuacct:/pod1\n0::/pod1/proxy");
  Write("pod1/proxy/cpu.max", "max 100000");
  Write("cpu/pod1/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(quota(), std::nullopt);
  Write("pod1/cpu.max", "50000 200000");
  EXPECT_EQ(quota(), 0.25);
  Write("pod1/cpu.max", "max 100000");
  Write("cpu/pod1/cpu.cfs_quota_us", "20000");
  EXPECT_EQ(quota(), 0.2) << "of 100 ms, which is the default";
  Write("cpu/pod1/cpu.cfs_period_us", "10000");
  EXPECT_EQ(quota(), 2.0);
  Write("pod1/proxy/cpu.max", "150000 100000");
  EXPECT_EQ(quota(), 1.5) << "the least of them";
}

TEST(CpusFor, IsTheQuotaRoundedUp) {
  EXPECT_EQ(CpusFor(std::nullopt, 64), 64);
  EXPECT_EQ(CpusFor(0.2, 64), 1);
  EXPECT_EQ(CpusFor(1.0, 64), 1);
  EXPECT_EQ(CpusFor(1.5, 64), 2);
  EXPECT_EQ(CpusFor(200, 64), 64);
  EXPECT_EQ(CpusFor(0.0, 64), 1);
}

}  // namespace
}  // namespace sluice::proxy
