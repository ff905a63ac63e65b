// Streams, events, and graphs captured from streams.
#include <algorithm>

#include "emulation/machine.h"

using namespace cuda_emulation;

namespace {

// What waiting for a stream, or asking it, begins with.
cudaError_t check_waitable(cudaStream_t stream) {
  if (const cudaError_t error = check_machine()) return error;
  if (!is_stream(stream)) return fail(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) {
    stream->capture->invalid = true;
    return fail(cudaErrorStreamCaptureUnsupported);
  }
  return cudaSuccess;
}

cudaError_t check_event(cudaEvent_t event) {
  if (const cudaError_t error = check_machine()) return error;
  return host().events.contains(event) ? cudaSuccess : fail(cudaErrorInvalidResourceHandle);
}

}  // namespace

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  auto made = std::make_unique<CUstream_st>();
  made->number = ++host().streams_made;
  made->device = current_device();
  made->blocking = (flags & cudaStreamNonBlocking) == 0;
  *stream = made.get();
  host().streams.emplace(made.get(), std::move(made));
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Locked lock(host().mutex);
  if (stream == nullptr || !is_stream(stream)) return fail(cudaErrorInvalidResourceHandle);
  finish(*stream);
  host().streams.erase(stream);
  return fail(host().sticky);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_waitable(stream)) return error;
  if (stream != nullptr) {
    finish(*stream);
    return fail(host().sticky);
  }
  return enqueue(nullptr, [] {});
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_waitable(stream)) return error;
  if (stream == nullptr || stream->queue.empty()) return cudaSuccess;
  // Who asks again and again must see it come to its end.
  const Work work = std::move(stream->queue.front());
  stream->queue.pop_front();
  work();
  if (const cudaError_t error = fail(host().sticky)) return error;
  return cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  if (const cudaError_t error = check_captures()) return error;
  finish_device(current_device());
  return fail(host().sticky);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*function)(void*), void* argument) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  return enqueue(stream, [=] { function(argument); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  auto made = std::make_unique<CUevent_st>();
  made->timed = (flags & cudaEventDisableTiming) == 0;
  *event = made.get();
  host().events.emplace(made.get(), std::move(made));
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Locked lock(host().mutex);
  return host().events.erase(event) != 0 ? cudaSuccess : fail(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_event(event)) return error;
  if (!is_stream(stream)) return fail(cudaErrorInvalidResourceHandle);
  auto mark = std::make_shared<Mark>();
  event->mark = mark;
  if (is_capturing(stream)) {
    mark->capture = stream->capture;
    return cudaSuccess;
  }
  if (stream != nullptr) mark->stream = stream->number;
  return enqueue(stream, [mark] {
    mark->reached = true;
    mark->when = std::chrono::steady_clock::now();
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_event(event)) return error;
  if (event->mark == nullptr) return cudaSuccess;
  if (event->mark->capture != nullptr) {
    // Work is recorded in the order of the calls, so the join alone keeps it.
    if (stream == nullptr || !is_stream(stream)) return fail(cudaErrorInvalidResourceHandle);
    stream->capture = event->mark->capture;
    return cudaSuccess;
  }
  return enqueue(stream, [mark = event->mark] { finish(*mark); });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_event(event)) return error;
  if (event->mark == nullptr) return cudaSuccess;
  if (event->mark->capture != nullptr) return fail(cudaErrorStreamCaptureUnsupported);
  finish(*event->mark);
  return fail(host().sticky);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_event(event)) return error;
  if (event->mark == nullptr || event->mark->reached) return cudaSuccess;
  if (event->mark->capture != nullptr) return fail(cudaErrorStreamCaptureUnsupported);
  finish(*event->mark);  // so that the next question has another answer
  if (const cudaError_t error = fail(host().sticky)) return error;
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  const Locked lock(host().mutex);
  for (const cudaEvent_t event : {begin, end}) {
    if (const cudaError_t error = check_event(event)) return error;
    if (event->mark == nullptr || !event->timed) return fail(cudaErrorInvalidResourceHandle);
    if (!event->mark->reached) return fail(cudaErrorNotReady);
  }
  *milliseconds =
      std::chrono::duration<float, std::milli>(end->mark->when - begin->mark->when).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  if (stream == nullptr) return fail(cudaErrorStreamCaptureUnsupported);
  if (!is_stream(stream) || is_capturing(stream)) return fail(cudaErrorInvalidValue);
  stream->capture = std::make_shared<Capture>();
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  std::erase_if(host().captures, [](const auto& capture) { return capture.expired(); });
  host().captures.push_back(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Locked lock(host().mutex);
  *graph = nullptr;
  if (stream == nullptr || !is_stream(stream) || !is_capturing(stream)) {
    return fail(cudaErrorInvalidValue);
  }
  const std::shared_ptr<Capture> capture = stream->capture;
  for (const auto& [address, other] : host().streams) {
    if (other->capture == capture) other->capture = nullptr;
  }
  for (const auto& [address, event] : host().events) {
    if (event->mark != nullptr && event->mark->capture == capture) event->mark = nullptr;
  }
  std::erase_if(host().captures, [&](const auto& other) { return other.lock() == capture; });
  if (capture->invalid) return fail(cudaErrorStreamCaptureInvalidated);
  auto made = std::make_unique<CUgraph_st>();
  made->nodes = std::move(capture->nodes);
  *graph = made.get();
  host().graphs.emplace(made.get(), std::move(made));
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Locked lock(host().mutex);
  if (!is_stream(stream)) return fail(cudaErrorInvalidResourceHandle);
  *status = cudaStreamCaptureStatusNone;
  if (is_capturing(stream)) {
    *status = stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  if (!host().graphs.contains(graph)) return fail(cudaErrorInvalidValue);
  auto made = std::make_unique<CUgraphExec_st>();
  made->nodes = std::make_shared<const std::vector<Work>>(graph->nodes);
  *exec = made.get();
  host().execs.emplace(made.get(), std::move(made));
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  const Locked lock(host().mutex);
  if (!host().execs.contains(exec)) return fail(cudaErrorInvalidValue);
  return is_stream(stream) ? cudaSuccess : fail(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  if (!host().execs.contains(exec)) return fail(cudaErrorInvalidValue);
  ++host().graphs_launched;
  return enqueue(stream, [nodes = exec->nodes] {
    for (const Work& node : *nodes) {
      if (host().sticky == cudaSuccess) node();
    }
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Locked lock(host().mutex);
  return host().graphs.erase(graph) != 0 ? cudaSuccess : fail(cudaErrorInvalidValue);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  const Locked lock(host().mutex);
  return host().execs.erase(exec) != 0 ? cudaSuccess : fail(cudaErrorInvalidValue);
}
