// Counting cores and nodes on machines laid out as text files in a temporary folder.
#include "base/cpu_cores.h"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "base/numa_nodes.h"
#include "support/temp_folder.h"

namespace chatglm {
namespace {

class FakeMachine {
 public:
  void write(const std::string& path, const std::string& line) {
    const std::filesystem::path file = folder_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << line << "\n";
  }
  void write_cpu(int processor, const std::string& file, const std::string& line) {
    write("sys/devices/system/cpu/cpu" + std::to_string(processor) + "/" + file, line);
  }
  int count(int num_processors) const {
    std::vector<int> processors(static_cast<std::size_t>(num_processors));
    std::iota(processors.begin(), processors.end(), 0);
    return count_linux_cores(folder_.path(), processors);
  }
  int count(const std::vector<int>& processors) const {
    return count_linux_cores(folder_.path(), processors);
  }
  int within_quota(int processors) const { return count_within_quota(folder_.path(), processors); }
  NumaNodes nodes(const std::vector<int>& processors) const {
    return read_numa_nodes(folder_.path(), processors);
  }

 private:
  test::TempFolder folder_;
};

TEST(CpuCores, NothingKnownCountsProcessors) {
  const FakeMachine machine;
  EXPECT_EQ(machine.count(6), 6);
  EXPECT_EQ(machine.count(std::vector<int>{}), 1);
}

TEST(CpuCores, SiblingsAreOneCore) {
  FakeMachine machine;
  for (int i = 0; i < 8; ++i) {
    const int core = i % 4;
    machine.write_cpu(i, "topology/thread_siblings_list",
                      std::to_string(core) + "," + std::to_string(core + 4));
  }
  EXPECT_EQ(machine.count(8), 4);
  EXPECT_EQ(machine.count({0, 4}), 1);  // both on one core
  EXPECT_EQ(machine.count({3, 4, 5}), 3);
}

TEST(CpuCores, HybridX86CountsPerformanceCores) {
  FakeMachine machine;
  machine.write("sys/devices/cpu_core/cpus", "0-3,6");
  machine.write("sys/devices/cpu_atom/cpus", "4-5,7-11");
  EXPECT_EQ(machine.count(12), 5);
  EXPECT_EQ(machine.count({4, 5, 7}), 3);  // confined to the efficiency cores
}

TEST(CpuCores, ArmCapacitiesCountFastCores) {
  FakeMachine machine;
  const std::vector<std::string> capacities{"250", "250", "250", "250",
                                            "870", "870", "870", "1024"};
  for (int i = 0; i < 8; ++i) {
    machine.write_cpu(i, "cpu_capacity", capacities[static_cast<std::size_t>(i)]);
  }
  EXPECT_EQ(machine.count(8), 4);
  EXPECT_EQ(machine.count({0, 1}), 2);
}

TEST(CpuCores, CgroupV2QuotaOfGroupOrParent) {
  FakeMachine machine;
  machine.write("proc/self/cgroup", "0::/user/job");
  EXPECT_EQ(machine.count(8), 8);
  machine.write("sys/fs/cgroup/user/job/cpu.max", "max 100000");
  EXPECT_EQ(machine.count(8), 8);
  machine.write("sys/fs/cgroup/user/cpu.max", "350000 100000");
  EXPECT_EQ(machine.count(8), 3);
  machine.write("sys/fs/cgroup/user/job/cpu.max", "50000 100000");
  EXPECT_EQ(machine.count(8), 1);
}

TEST(CpuCores, CgroupV1Quota) {
  FakeMachine machine;
  machine.write("proc/self/cgroup", "5:memory:/x\n3:cpuacct,cpu:/docker/abc");
  machine.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(machine.count(8), 8);
  machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000");
  EXPECT_EQ(machine.count(8), 2);
}

TEST(CpuCores, TightestQuotaOfNestedGroups) {
  FakeMachine machine;
  machine.write("proc/self/cgroup", "0::/a/b/c");
  machine.write("sys/fs/cgroup/a/cpu.max", "600000 100000");
  machine.write("sys/fs/cgroup/a/b/cpu.max", "200000 50000");
  machine.write("sys/fs/cgroup/a/b/c/cpu.max", "500000 100000");
  EXPECT_EQ(machine.count(8), 4);
  EXPECT_EQ(machine.count(3), 3);
  EXPECT_EQ(machine.within_quota(64), 4);
  machine.write("sys/fs/cgroup/a/b/cpu.max", "max 100000");
  EXPECT_EQ(machine.within_quota(64), 5);
}

TEST(CpuCores, CgroupV1NestedUnderBothNames) {
  FakeMachine machine;
  machine.write("proc/self/cgroup", "3:cpu,cpuacct:/docker/abc/inner");
  machine.write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000");
  machine.write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "250000");
  EXPECT_EQ(machine.count(8), 2);
}

// Version 2 beside version 1; and a path that only the host can see.
TEST(CpuCores, CgroupV2InAFolderOfItsOwn) {
  FakeMachine machine;
  machine.write("proc/self/cgroup", "1:name=systemd:/x\n0::/../../pods/job");
  machine.write("sys/fs/cgroup/unified/cpu.max", "300000 100000");
  EXPECT_EQ(machine.count(8), 3);
}

TEST(NumaNodes, ProcessorsBelongToTheirNodes) {
  FakeMachine machine;
  machine.write("sys/devices/system/node/node0/cpulist", "0-3,8-11");
  machine.write("sys/devices/system/node/node1/cpulist", "4-7,12-15");
  machine.write("sys/devices/system/node/node2/cpulist", "");  // memory only
  machine.write("sys/devices/system/node/possible", "0-2");
  const NumaNodes nodes = machine.nodes({0, 3, 4, 7, 9, 12});
  EXPECT_EQ(nodes.count(), 2);
  EXPECT_EQ(nodes.node_of(0), nodes.node_of(3));
  EXPECT_EQ(nodes.node_of(0), nodes.node_of(9));
  EXPECT_EQ(nodes.node_of(4), nodes.node_of(7));
  EXPECT_EQ(nodes.node_of(4), nodes.node_of(12));
  EXPECT_NE(nodes.node_of(0), nodes.node_of(4));
  EXPECT_EQ(machine.nodes({5, 6}).count(), 1);  // confined to one node
}

TEST(NumaNodes, NothingKnownIsOneNode) {
  FakeMachine machine;
  EXPECT_EQ(machine.nodes({0, 1}).count(), 1);
  machine.write("sys/devices/system/node/node0/cpulist", "some");
  EXPECT_EQ(machine.nodes({0, 1}).count(), 1);
  EXPECT_EQ(machine.nodes({0, 1}).node_of(-1), 0);
  EXPECT_EQ(machine.nodes({0, 1}).node_of(1 << 20), 0);
  EXPECT_EQ(NumaNodes().current(), 0);
  const NumaNodes here = usable_numa_nodes();
  EXPECT_GE(here.current(), 0);
  EXPECT_LT(here.current(), here.count());
}

TEST(CpuCores, GarbageIsNoRestriction) {
  FakeMachine machine;
  machine.write("proc/self/cgroup", "nonsense\n::\n0::/");
  machine.write("sys/fs/cgroup/cpu.max", "many few");
  machine.write_cpu(0, "cpu_capacity", "fast");
  EXPECT_EQ(machine.count(4), 4);
}

TEST(CpuCores, ThisMachineHasProcessors) {
  EXPECT_GE(count_usable_processors(), 1);
}

}  // namespace
}  // namespace chatglm
