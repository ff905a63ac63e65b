// The engine's thread under several clients: the same tokens, cancellation, failure, destruction.
#include "engine/engine_thread.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <ctime>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "engine/engine_case.h"

namespace chatglm {
namespace {

using namespace testing_support;
using namespace std::chrono_literals;

class EngineThreadTest : public testing::Test {
 protected:
  std::unique_ptr<EngineThread> start(const EngineOptions& options = {}) {
    return std::make_unique<EngineThread>(std::make_unique<Engine>(model_, backend_, options));
  }

  FakeBackend backend_;
  FakeModel model_;
};

// All events of a request; gives up after a minute.
Answer receive(RequestStream& stream) {
  Answer answer;
  while (answer.finish == FinishReason::kNone) {
    const std::optional<StepOutput> event = stream.next(60s);
    if (!event) throw Error(ErrorKind::kRuntime, "no event within a minute");
    if (event->token.token >= 0) answer.tokens.push_back(event->token.token);
    answer.finish = event->finish;
    answer.error = event->error;
  }
  return answer;
}

// Holds the model before its next forward pass until opened.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    is_reached_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return is_open_; });
  }
  void wait_until_reached() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_reached_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_reached_ = false;
  bool is_open_ = false;
};

TEST_F(EngineThreadTest, StreamsTheTokensAndThenRefuses) {
  const auto thread = start();
  const Request request = make_request({1, 2, 3}, 30);
  const auto stream = thread->submit(request);
  const Answer answer = receive(*stream);
  EXPECT_EQ(answer.tokens, expected_tokens(request));
  EXPECT_EQ(answer.finish, FinishReason::kLength);
  EXPECT_THROW(stream->next(0ms), Error);
  EXPECT_EQ(thread->stats().tokens_generated, 30);
}

TEST_F(EngineThreadTest, NextGivesNothingAfterTheTimeout) {
  Gate gate;
  model_.on_forward = [&](const Batch&) { gate.pass(); };
  const auto thread = start();
  const auto stream = thread->submit(make_request({1}, 1));
  EXPECT_EQ(stream->next(-1ms), std::nullopt);
  EXPECT_EQ(stream->next(20ms), std::nullopt);
  gate.open();
  EXPECT_EQ(stream->next(std::chrono::milliseconds::max())->finish, FinishReason::kLength);
}

TEST_F(EngineThreadTest, SubmitThrowsAtOnceAndDoesNotWaitForTheStep) {
  Gate gate;
  model_.on_forward = [&](const Batch&) { gate.pass(); };
  const auto thread = start();
  const auto first = thread->submit(make_request({1}, 5));
  gate.wait_until_reached();  // the step is being computed until the gate opens
  EXPECT_THROW(thread->submit(make_request({}, 5)), Error);
  const auto second = thread->submit(make_request({2}, 5));
  gate.open();
  EXPECT_EQ(receive(*first).tokens.size(), 5u);
  EXPECT_EQ(receive(*second).tokens.size(), 5u);
}

TEST_F(EngineThreadTest, CancelEndsARequestWithAnEvent) {
  Gate gate;
  model_.on_forward = [&](const Batch&) { gate.pass(); };
  const auto thread = start();
  const auto stream = thread->submit(make_request({1}, 1000000));
  gate.wait_until_reached();
  stream->cancel();
  gate.open();
  const Answer answer = receive(*stream);
  EXPECT_EQ(answer.finish, FinishReason::kCancelled);
  EXPECT_LE(answer.tokens.size(), 1u);
}

TEST_F(EngineThreadTest, DroppingAStreamCancelsItsRequest) {
  const auto thread = start();
  thread->submit(make_request({1}, 1000000)).reset();
  const Request request = make_request({2}, 10);
  EXPECT_EQ(receive(*thread->submit(request)).tokens, expected_tokens(request));
  EXPECT_LT(thread->stats().tokens_generated, 1000);
}

TEST_F(EngineThreadTest, AFailedStepEndsItsRequestsAndTheEngineLivesOn) {
  std::atomic<bool> is_failing = true;
  model_.on_forward = [&](const Batch&) {
    if (is_failing) throw Error(ErrorKind::kDevice, "the device has no memory left");
  };
  const auto thread = start();
  const auto first = thread->submit(make_request({1}, 5));
  const auto second = thread->submit(make_request({2}, 5));
  for (RequestStream* stream : {first.get(), second.get()}) {
    const Answer answer = receive(*stream);
    EXPECT_EQ(answer.finish, FinishReason::kError);
    EXPECT_EQ(answer.error, "the device has no memory left");
  }
  is_failing = false;
  const Request request = make_request({3}, 10);
  EXPECT_EQ(receive(*thread->submit(request)).tokens, expected_tokens(request));
}

TEST_F(EngineThreadTest, TheCacheOutOfDeviceMemoryIsSuchAFailure) {
  backend_.set_memory_left(10);
  const auto thread = start();
  const Answer answer = receive(*thread->submit(make_request({1}, 5)));
  EXPECT_EQ(answer.finish, FinishReason::kError);
  EXPECT_EQ(answer.error, "out of fake memory");
}

TEST_F(EngineThreadTest, StreamsOutliveTheThread) {
  Gate gate;
  model_.on_forward = [&](const Batch&) { gate.pass(); };
  auto thread = start();
  const auto running = thread->submit(make_request({1}, 1000000));
  gate.wait_until_reached();
  const auto in_the_inbox = thread->submit(make_request({2}, 5));
  std::thread destroyer([&] { thread.reset(); });
  gate.open();
  EXPECT_EQ(receive(*running).finish, FinishReason::kCancelled);
  destroyer.join();
  const Answer late = receive(*in_the_inbox);
  EXPECT_TRUE(late.finish == FinishReason::kCancelled || late.finish == FinishReason::kLength);
  running->cancel();
}

TEST_F(EngineThreadTest, ManyClients) {
  constexpr int kClients = 6;
  constexpr int kRequests = 25;
  auto thread = start(with_pages(24, {.max_batch_rows = 32, .max_sequences = 5}));
  std::vector<std::thread> clients;
  std::atomic<int> whole = 0;
  std::atomic<int> wrong = 0;
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back([&, client] {
      std::mt19937_64 random(static_cast<uint64_t>(client) + 1000);
      for (int i = 0; i < kRequests; ++i) {
        const auto length = static_cast<int64_t>(1 + random() % 60);
        const Request request = make_request(random_prompt(random, length),
                                             static_cast<int64_t>(1 + random() % 30), random());
        const std::unique_ptr<RequestStream> stream = thread->submit(request);
        const uint64_t fate = random() % 5;
        if (fate == 0) continue;  // dropped
        if (fate == 1) stream->cancel();
        const Answer answer = receive(*stream);
        const std::vector<int32_t> expected = expected_tokens(request);
        if (answer.finish == FinishReason::kCancelled) {
          if (fate != 1 || answer.tokens.size() > expected.size()) ++wrong;
        } else {
          if (answer.tokens != expected) ++wrong;
          ++whole;
        }
        thread->stats();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(whole, kClients * kRequests / 2);
}

TEST_F(EngineThreadTest, DestructionWhileClientsWait) {
  for (int round = 0; round < 20; ++round) {
    auto thread = start({.max_batch_rows = 8});
    std::vector<std::unique_ptr<RequestStream>> streams;
    for (int32_t i = 0; i < 4; ++i) streams.push_back(thread->submit(make_request({i}, 1000000)));
    std::vector<std::thread> clients;
    for (auto& stream : streams) {
      clients.emplace_back([&] { EXPECT_NE(receive(*stream).finish, FinishReason::kError); });
    }
    thread.reset();
    for (std::thread& client : clients) client.join();
  }
}

TEST_F(EngineThreadTest, SleepsWhileThereIsNothingToDo) {
  const auto thread = start();
  receive(*thread->submit(make_request({1}, 5)));
  const int64_t forwards = model_.num_forwards;
  const std::clock_t before = std::clock();  // processor time of the whole process
  std::this_thread::sleep_for(300ms);
  const double used_s = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
#ifndef _WIN32  // where clock() is the time of day
  EXPECT_LT(used_s, 0.1);
#endif
  EXPECT_EQ(model_.num_forwards, forwards);
}

}  // namespace
}  // namespace chatglm
