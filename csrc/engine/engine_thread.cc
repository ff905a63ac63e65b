// Callers and the engine's thread meet in two places only: the inbox of new requests, and one
// channel of events per request, which both sides own together. So neither side can outlive what it
// uses.
#include "engine/engine_thread.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"

namespace chatglm {
namespace {

// Events of one request on their way from the engine's thread to the caller.
class Channel {
 public:
  void send(StepOutput event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    arrived_.notify_one();
  }

  std::optional<StepOutput> receive(std::chrono::milliseconds timeout) {
    // Longer waits would overflow the clock.
    constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24);
    std::unique_lock lock(mutex_);
    if (is_finished_) throw_finished();
    const bool arrived = arrived_.wait_for(lock, std::min(timeout, kLongest),
                                           [&] { return is_finished_ || !events_.empty(); });
    if (!arrived) return std::nullopt;
    if (is_finished_) throw_finished();  // another caller took the last event meanwhile
    StepOutput event = std::move(events_.front());
    events_.pop_front();
    is_finished_ = event.finish != FinishReason::kNone;
    if (is_finished_) arrived_.notify_all();
    return event;
  }

  void cancel() { is_cancelled_ = true; }
  bool is_cancelled() const { return is_cancelled_; }

 private:
  [[noreturn]] static void throw_finished() {
    throw Error(ErrorKind::kInvalidArgument,
                "the request is finished and its last event was delivered");
  }

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<StepOutput> events_;
  bool is_finished_ = false;  // the last event was received
  std::atomic<bool> is_cancelled_ = false;
};

class ChannelStream final : public RequestStream {
 public:
  explicit ChannelStream(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}
  ~ChannelStream() override { channel_->cancel(); }
  std::optional<StepOutput> next(std::chrono::milliseconds timeout) override {
    return channel_->receive(timeout);
  }
  void cancel() override { channel_->cancel(); }

 private:
  std::shared_ptr<Channel> channel_;
};

StepOutput final_event(FinishReason reason, std::string error = {}) {
  StepOutput event;
  event.finish = reason;
  event.error = std::move(error);
  return event;
}

}  // namespace

struct EngineThread::Impl {
  struct Submission {
    Request request;
    std::shared_ptr<Channel> channel;
  };

  explicit Impl(std::unique_ptr<Engine> engine_) : engine(std::move(engine_)) {
    stats = engine->stats();
    thread = std::thread([this] { run(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      is_stopping = true;
    }
    wake.notify_one();
    thread.join();
    for (const Submission& submission : inbox) {
      submission.channel->send(final_event(FinishReason::kCancelled));
    }
    for (const auto& [id, channel] : channels) {
      channel->send(final_event(FinishReason::kCancelled));
    }
  }

  void run();
  void accept(Submission submission);
  std::vector<StepOutput> step();
  void deliver(std::vector<StepOutput> events);

  // Of the engine's thread alone, but for Engine::check().
  const std::unique_ptr<Engine> engine;
  std::unordered_map<RequestId, std::shared_ptr<Channel>> channels;

  mutable std::mutex mutex;  // of what follows
  std::condition_variable wake;
  std::vector<Submission> inbox;
  EngineStats stats;
  bool is_stopping = false;

  std::thread thread;
};

void EngineThread::Impl::run() {
  while (true) {
    std::vector<Submission> arrived;
    {
      std::unique_lock lock(mutex);
      wake.wait(lock, [&] { return is_stopping || !inbox.empty() || engine->has_work(); });
      if (is_stopping) return;
      arrived.swap(inbox);
    }
    for (Submission& submission : arrived) accept(std::move(submission));
    for (const auto& [id, channel] : channels) {
      if (channel->is_cancelled()) engine->cancel(id);
    }
    std::vector<StepOutput> events = step();
    {
      const std::lock_guard lock(mutex);
      stats = engine->stats();
    }
    deliver(std::move(events));
  }
}

void EngineThread::Impl::accept(Submission submission) {
  try {
    const RequestId id = engine->submit(std::move(submission.request));
    channels.emplace(id, submission.channel);
  } catch (const std::exception& error) {  // out of memory: the request itself was checked
    submission.channel->send(final_event(FinishReason::kError, error.what()));
  }
}

std::vector<StepOutput> EngineThread::Impl::step() {
  try {
    return engine->step();
  } catch (const std::exception& error) {
    return engine->fail_running(error.what());
  }
}

void EngineThread::Impl::deliver(std::vector<StepOutput> events) {
  for (StepOutput& event : events) {
    const auto entry = channels.find(event.id);
    if (entry == channels.end()) continue;
    const std::shared_ptr<Channel> channel = entry->second;
    if (event.finish != FinishReason::kNone) channels.erase(entry);
    channel->send(std::move(event));
  }
}

EngineThread::EngineThread(std::unique_ptr<Engine> engine)
    : impl_(std::make_unique<Impl>(std::move(engine))) {}

EngineThread::~EngineThread() = default;

std::unique_ptr<RequestStream> EngineThread::submit(Request request) {
  impl_->engine->check(request);
  auto channel = std::make_shared<Channel>();
  auto stream = std::make_unique<ChannelStream>(channel);
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->inbox.push_back({std::move(request), std::move(channel)});
  }
  impl_->wake.notify_one();
  return stream;
}

EngineStats EngineThread::stats() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->stats;
}

}  // namespace chatglm
