// Core counting on machines laid out as text files in a temporary folder.
#include "base/cpu_cores.h"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <string>
#include <vector>

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
