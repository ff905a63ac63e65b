// Copies of boxes as the emulation knows them: where their pieces lie, and that kernels which wait
// for them in a wrong way are told of. Compiled for the emulation alone.
#include "cuda_kernels/test_support.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/shared.cuh"
#include "kernels/cuda/tensor_map.cuh"
#include "kernels/cuda/tma.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kBoxRows = 8, kBoxCols = 64, kThreads = 64;
// The thread that comes last to a barrier is the first that the emulation has go on.
constexpr unsigned kStarter = kThreads - 1;
constexpr unsigned kBoxBytes = kBoxRows * kBoxCols * sizeof(uint16_t);
constexpr int64_t kRows = 11, kCols = 72;

enum class Fault {
  kNone,
  kNoWait,
  kWaitsForThePhaseBefore,
  kOnlyOneWaits,
  kExpectsMore,
  kExpectsLess,
  kNobodyArrives,
  kNoBarrierBehindTheMaking,
  kNotMade,
  kMisplaced,
  kOnlyAWarpsBarrierBehindReads,
  kEndsBefore,
};

struct BoxShared {
  uint16_t box[kBoxRows + 1][kBoxCols];
  Mbarrier barrier;
};

// The box whose first number is `column` of `row`, twice, from shared memory as it lies there.
template <Fault kFault>
__global__ void box_kernel(const __grid_constant__ CUtensorMap map, int column, int row,
                           uint16_t* out) {
  auto& shared = shared_memory<BoxShared>();
  Mbarrier& barrier = shared.barrier;
  uint16_t* box = shared.box[0];
  if (threadIdx.x == kStarter && kFault != Fault::kNotMade) {
    init_barrier(barrier, 1);
    publish_barriers();
  }
  if (kFault != Fault::kNoBarrierBehindTheMaking) __syncthreads();
  for (unsigned round = 0; round < 2; ++round) {
    if (threadIdx.x == kStarter) {
      const unsigned bytes = kFault == Fault::kExpectsMore   ? kBoxBytes + 16
                             : kFault == Fault::kExpectsLess ? kBoxBytes - 16
                                                             : kBoxBytes;
      if (kFault != Fault::kNobodyArrives) arrive_and_expect(barrier, bytes);
      copy_box(kFault == Fault::kMisplaced ? box + 8 : box, map, column, row, barrier);
    }
    if (kFault == Fault::kEndsBefore && round == 1) return;
    if (kFault == Fault::kWaitsForThePhaseBefore) {
      wait_for_phase(barrier, round ^ 1);
    } else if (kFault != Fault::kNoWait &&
               (kFault != Fault::kOnlyOneWaits || threadIdx.x == kStarter)) {
      wait_for_phase(barrier, round);
    }
    for (int i = static_cast<int>(threadIdx.x); i < kBoxRows * kBoxCols; i += kThreads) {
      out[i] = box[i];
    }
    if (kFault == Fault::kOnlyAWarpsBarrierBehindReads) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }
}

class EmulatedBoxes : public CudaKernelTest {
 protected:
  static uint16_t number(int64_t row, int64_t col) {
    return static_cast<uint16_t>(100 * row + col + 1);
  }

  EmulatedBoxes() {
    for (int64_t i = 0; i < kRows * kCols; ++i) numbers_.push_back(number(i / kCols, i % kCols));
  }

  // What lies in shared memory behind the second copy, and the first thing that was reported.
  template <Fault kFault>
  std::pair<std::vector<uint16_t>, std::string> copied(int column = 0, int row = 0) const {
    const DeviceArray<uint16_t> matrix(numbers_), out(kBoxRows * kBoxCols);
    CUtensorMap map{};
    EXPECT_TRUE(describe_rows(matrix.data(), kRows, kCols, kBoxRows, map));
    launch(box_kernel<kFault>, dim3(1), kThreads, sizeof(BoxShared), nullptr, map, column, row,
           out.data());
    static_cast<void>(cudaStreamSynchronize(nullptr));
    const std::vector<std::string> reports = cuda_emulation::take_reports();
    return {out.values(), reports.empty() ? "" : reports.front()};
  }
  template <Fault kFault>
  std::string report_of() const {
    return copied<kFault>().second;
  }

 private:
  std::vector<uint16_t> numbers_;
};

void expect_tells(const std::string& sentence, const char* part) {
  EXPECT_NE(sentence.find(part), std::string::npos) << sentence;
}

TEST_F(EmulatedBoxes, LieSwizzledAndAreZeroBeyondTheMatrix) {
  for (const auto& [column, row] : {std::pair{0, 0}, {8, 2}, {64, 8}, {0, 8}, {16, 0}}) {
    const auto [box, report] = copied<Fault::kNone>(column, row);
    EXPECT_EQ(report, "");
    for (int i = 0; i < kBoxRows * kBoxCols; ++i) {
      const int in_row = i / kBoxCols, in_col = i % kBoxCols;
      const bool present = row + in_row < kRows && column + in_col < kCols;
      const int place = in_row * kBoxCols + (in_col / 8 ^ in_row % 8) * 8 + in_col % 8;
      ASSERT_EQ(box[static_cast<std::size_t>(place)],
                present ? number(row + in_row, column + in_col) : 0)
          << in_row << ' ' << in_col;
    }
  }
}

TEST_F(EmulatedBoxes, MustBeWaitedForByWhoReads) {
#if !defined(CUDA_EMULATION_FINDS_RACES)
  GTEST_SKIP() << "this build has a sanitizer's hooks";
#endif
  expect_tells(report_of<Fault::kNoWait>(), "a copy that was not waited for still writes");
  expect_tells(report_of<Fault::kWaitsForThePhaseBefore>(),
               "a copy that was not waited for still writes");
  expect_tells(report_of<Fault::kOnlyOneWaits>(), "which a bulk copy wrote");
  const std::string early = report_of<Fault::kOnlyAWarpsBarrierBehindReads>();
  expect_tells(early, "a race: writes shared memory");
  expect_tells(early, "read in ");
}

TEST_F(EmulatedBoxes, AWaitWithoutEndIsTold) {
  for (const std::string& sentence :
       {report_of<Fault::kExpectsMore>(), report_of<Fault::kExpectsLess>(),
        report_of<Fault::kNobodyArrives>()}) {
    expect_tells(sentence, "stands still: 64 of its 64 threads wait");
    expect_tells(sentence, "thread 0 waits at an mbarrier");
  }
}

TEST_F(EmulatedBoxes, RulesOfTheHardware) {
  expect_tells(report_of<Fault::kNotMade>(), "arrival of a barrier that was not made");
  expect_tells(report_of<Fault::kNoBarrierBehindTheMaking>(),
               "wait of a barrier that was not made");
  expect_tells(report_of<Fault::kMisplaced>(), "to an address that is no multiple of 128");
  expect_tells(report_of<Fault::kEndsBefore>(), "a block ends while a box is copied");
}

TEST_F(EmulatedBoxes, OnlyOfWhatIsAllocated) {
  CUtensorMap map{};
  std::string sentence;
  {
    const DeviceArray<uint16_t> out(kBoxRows * kBoxCols);
    void* matrix = nullptr;
    ASSERT_EQ(cudaMalloc(&matrix, 4 * kCols * sizeof(uint16_t)), cudaSuccess);
    ASSERT_TRUE(describe_rows(matrix, kRows, kCols, kBoxRows, map));
    launch(box_kernel<Fault::kNone>, dim3(1), kThreads, sizeof(BoxShared), nullptr, map, 0, 0,
           out.data());
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaErrorLaunchFailure);
    sentence = cuda_emulation::take_reports().front();
    ASSERT_EQ(cudaFree(matrix), cudaSuccess);
  }
  expect_tells(sentence, "of device memory that is not allocated");
}

TEST_F(EmulatedBoxes, MapsThatTheDriverRefuses) {
  const DeviceArray<uint16_t> matrix(kRows * kCols);
  CUtensorMap map{};
  EXPECT_TRUE(describe_rows(matrix.data(), kRows, kCols, 256, map));
  EXPECT_FALSE(describe_rows(matrix.data() + 1, kRows, kCols, kBoxRows, map)) << "2 bytes on";
  EXPECT_FALSE(describe_rows(matrix.data(), kRows, kCols + 4, kBoxRows, map))
      << "rows of 152 bytes";
  EXPECT_FALSE(describe_rows(matrix.data(), 0, kCols, kBoxRows, map));
  EXPECT_FALSE(describe_rows(matrix.data(), kRows, kCols, 257, map));
}

TEST(EmulatedDriver, MayKnowNoMaps) {
  cuda_emulation::set_devices({{.old_driver = true}});
  CUtensorMap map{};
  alignas(16) uint16_t row[8] = {};
  EXPECT_FALSE(describe_rows(row, 1, 8, kBoxRows, map));
  cuda_emulation::set_devices({cuda_emulation::DeviceSpec{}});
  EXPECT_TRUE(describe_rows(row, 1, 8, kBoxRows, map));
}

}  // namespace
}  // namespace chatglm::kernels::cuda
