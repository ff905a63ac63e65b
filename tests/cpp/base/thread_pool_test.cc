// The pool covers every item exactly once, whatever the counts, the load and the bodies.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <sys/resource.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

#include "base/error.h"

namespace chatglm {
namespace {

// Runs one loop that counts visits and checks what the body is promised.
void expect_exact_cover(ThreadPool& pool, int64_t count, int64_t grain) {
  std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
  std::atomic<int> broken_promises{0};
  pool.parallel_for(count, grain, [&](int64_t begin, int64_t end, int thread) {
    const bool is_kept = begin >= 0 && begin < end && end <= count && end - begin <= grain &&
                         thread >= 0 && thread < pool.num_threads();
    if (!is_kept) broken_promises.fetch_add(1);
    for (int64_t i = begin; i < end; ++i) visits[static_cast<std::size_t>(i)].fetch_add(1);
  });
  EXPECT_EQ(broken_promises.load(), 0) << "count " << count << " grain " << grain;
  for (int64_t i = 0; i < count; ++i) {
    ASSERT_EQ(visits[static_cast<std::size_t>(i)].load(), 1)
        << "item " << i << " of " << count << ", grain " << grain;
  }
}

// Neighbouring processors on different nodes.
NumaNodes alternating_nodes(int nodes) {
  std::vector<int> node_of_processor(static_cast<std::size_t>(64 * nodes));
  for (std::size_t i = 0; i < node_of_processor.size(); ++i) {
    node_of_processor[i] = static_cast<int>(i) % nodes;
  }
  return NumaNodes(node_of_processor);
}

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, CoversEveryItemOnce) {
  ThreadPool pool(GetParam());
  ASSERT_EQ(pool.num_threads(), GetParam());
  for (const int64_t count : {0, 1, 2, 3, 7, 8, 9, 64, 1000}) {
    for (const int64_t grain : {1, 2, 3, 8, 1001}) expect_exact_cover(pool, count, grain);
  }
}

// The usual life of the pool: thousands of tiny loops in a row. A lost wake-up hangs here.
TEST_P(ThreadPoolTest, ManySmallLoops) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> values(37, 0);
  constexpr int kLoops = 5000;
  for (int loop = 0; loop < kLoops; ++loop) {
    pool.parallel_for(37, 2, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) ++values[static_cast<std::size_t>(i)];
    });
  }
  for (const int64_t value : values) EXPECT_EQ(value, kLoops);
}

// Pauses of every length around the spinning time, so that workers are met awake, asleep, and on
// their way from one to the other.
TEST_P(ThreadPoolTest, LoopsAfterPauses) {
  ThreadPool pool(GetParam());
  for (int pause_us = 0; pause_us < 200; pause_us += 2) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(pause_us);
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
    expect_exact_cover(pool, 16, 1);
  }
}

TEST_P(ThreadPoolTest, UnevenBodies) {
  ThreadPool pool(GetParam());
  std::atomic<int64_t> sum{0};
  for (int loop = 0; loop < 5; ++loop) {
    pool.parallel_for(20, 1, [&](int64_t begin, int64_t, int) {
      if (begin % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      sum.fetch_add(begin);
    });
  }
  EXPECT_EQ(sum.load(), 5 * 190);
}

TEST_P(ThreadPoolTest, OneThreadNumberIsNeverUsedTwiceAtOnce) {
  ThreadPool pool(GetParam());
  std::vector<std::atomic<int>> users(static_cast<std::size_t>(GetParam()));
  std::atomic<int> clashes{0};
  for (int loop = 0; loop < 200; ++loop) {
    pool.parallel_for(32, 1, [&](int64_t, int64_t, int thread) {
      std::atomic<int>& user = users[static_cast<std::size_t>(thread)];
      if (user.fetch_add(1) != 0) clashes.fetch_add(1);
      std::this_thread::yield();
      user.fetch_sub(1);
    });
  }
  EXPECT_EQ(clashes.load(), 0);
}

// One thread is delayed in its first chunk until all other chunks are done: nobody waits for more.
TEST_P(ThreadPoolTest, SlowThreadHoldsOneChunkUp) {
  if (GetParam() == 1) GTEST_SKIP() << "needs a second thread";
  for (const int nodes : {1, 2}) {
    ThreadPool pool(GetParam(), alternating_nodes(nodes));
    constexpr int kChunks = 100;
    std::atomic<bool> is_taken{false}, timed_out{false};
    std::atomic<int> others_done{0};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    pool.parallel_for(kChunks, 1, [&](int64_t, int64_t, int) {
      if (is_taken.exchange(true)) {
        others_done.fetch_add(1);
        return;
      }
      while (others_done.load() < kChunks - 1 && !timed_out.load()) {
        std::this_thread::yield();
        if (std::chrono::steady_clock::now() > deadline) timed_out.store(true);
      }
    });
    EXPECT_FALSE(timed_out.load()) << others_done.load() << " chunks were done meanwhile";
  }
}

TEST_P(ThreadPoolTest, SharesOfNodesCoverEveryItemOnce) {
  for (const int nodes : {2, 3}) {
    ThreadPool pool(GetParam(), alternating_nodes(nodes));
    for (const int64_t count : {0, 1, 2, 3, 7, 64, 1000}) {
      for (const int64_t grain : {1, 2, 8, 1001}) expect_exact_cover(pool, count, grain);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 4, 8));

TEST(ThreadPool, WorkersTakePart) {
  ThreadPool pool(2);
  std::atomic<int> arrived{0};
  std::atomic<bool> timed_out{false};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  pool.parallel_for(2, 1, [&](int64_t, int64_t, int) {
    arrived.fetch_add(1);
    while (arrived.load() < 2 && !timed_out.load()) {  // both chunks at the same time
      std::this_thread::yield();
      if (std::chrono::steady_clock::now() > deadline) timed_out.store(true);
    }
  });
  EXPECT_FALSE(timed_out.load());
}

// Only as many sleepers are woken as there are chunks for; those must come.
TEST(ThreadPool, SleepersComeForTheirChunks) {
  constexpr int kThreads = 8;
  ThreadPool pool(kThreads);
  for (const int chunks : {2, 3, kThreads}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // workers fall asleep
    std::atomic<int> arrived{0};
    std::atomic<bool> timed_out{false};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    pool.parallel_for(chunks, 1, [&](int64_t, int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < chunks && !timed_out.load()) {  // all at the same time
        std::this_thread::yield();
        if (std::chrono::steady_clock::now() > deadline) timed_out.store(true);
      }
    });
    EXPECT_FALSE(timed_out.load()) << arrived.load() << " of " << chunks;
  }
}

#ifdef __linux__
// All threads on one processor, and that on the second of two nodes: its share comes first.
TEST(ThreadPool, SharesOfTheOwnNodeComeFirst) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  const int processor = sched_getcpu();
  ASSERT_GE(processor, 0);
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(static_cast<std::size_t>(processor), &only);
  ASSERT_EQ(sched_setaffinity(0, sizeof(only), &only), 0);
  {
    std::vector<int> node_of_processor(static_cast<std::size_t>(processor) + 1);
    node_of_processor.back() = 1;
    // The processor may be number 0: node 0 exists all the same.
    ThreadPool pool(3, NumaNodes(node_of_processor));
    std::mutex mutex;
    std::vector<int64_t> taken;
    pool.parallel_for(100, 10, [&](int64_t begin, int64_t, int) {
      const std::lock_guard lock(mutex);
      taken.push_back(begin);
    });
    ASSERT_EQ(taken.size(), 10u);
    EXPECT_GE(taken.front(), 50);
    EXPECT_GE(taken[1], 50);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
}
#endif

TEST(ThreadPool, HugeCountDoesNotOverflow) {
  ThreadPool pool(4);
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> covered{0};
  pool.parallel_for(kMax, kMax / 3,
                    [&](int64_t begin, int64_t end, int) { covered.fetch_add(end - begin); });
  EXPECT_EQ(covered.load(), kMax);
}

TEST(ThreadPool, RefusesBadThreadCounts) {
  for (const int count : {-1, ThreadPool::kMaxThreads + 1}) {
    try {
      ThreadPool pool(count);
      FAIL() << "no error for " << count;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      EXPECT_NE(error.message().find(std::to_string(count)), std::string::npos);
    }
  }
}

TEST(ThreadPool, StartsAndStopsWithoutWork) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

TEST(ThreadPool, DefaultIsAtLeastOneThread) {
  EXPECT_GE(default_num_threads(), 1);
  EXPECT_LE(default_num_threads(), ThreadPool::kMaxThreads);
  EXPECT_EQ(ThreadPool().num_threads(), default_num_threads());
}

#ifndef _WIN32
double process_cpu_seconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(ThreadPool, IdlePoolUsesNoCpu) {
  ThreadPool pool(4);
  pool.parallel_for(64, 1, [](int64_t, int64_t, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // workers fall asleep
  const double before_s = process_cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(process_cpu_seconds() - before_s, 0.03);
}
#endif

}  // namespace
}  // namespace chatglm
