// Where in the scratch memory what of a choice lies.
#include "kernels/cuda/choice.h"

#include "kernels/cuda/choice_call.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr int64_t kAlignment = 256;

int64_t aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

int64_t num_segments(int64_t columns) {
  return (columns + kChoiceSegment - 1) / kChoiceSegment;
}

int64_t bitmap_words(int64_t columns) {
  return (columns + 31) / 32;
}

// Hands out pieces of memory one behind the other.
class Pieces {
 public:
  explicit Pieces(std::byte* begin) : begin_(begin) {}
  template <typename T>
  T* next(int64_t count) {
    T* const piece = begin_ == nullptr ? nullptr : reinterpret_cast<T*>(begin_ + used_bytes_);
    used_bytes_ += aligned(count * static_cast<int64_t>(sizeof(T)));
    return piece;
  }
  int64_t used_bytes() const { return used_bytes_; }

 private:
  std::byte* begin_;
  int64_t used_bytes_ = 0;
};

// Behind the bitmaps.
int64_t place(ChoiceCall& call, std::byte* begin) {
  Pieces pieces(begin);
  const int64_t rows = call.num_rows, segments = call.segments;
  call.best = pieces.next<uint64_t>(rows * segments);
  call.bins = pieces.next<uint32_t>(rows * kChoiceBins);
  call.weights = pieces.next<uint64_t>(rows * segments);
  call.list_sizes = pieces.next<int32_t>(rows * segments);
  call.list = pieces.next<int32_t>(rows * segments * kChoiceSegment);
  return pieces.used_bytes();
}

}  // namespace

int64_t choice_bitmap_bytes(int64_t num_rows, int64_t columns) {
  return aligned(num_rows * 2 * bitmap_words(columns) * static_cast<int64_t>(sizeof(uint32_t)));
}

int64_t choice_scratch_bytes(int64_t num_rows, int64_t columns, bool has_marks) {
  ChoiceCall call{};
  call.num_rows = static_cast<int32_t>(num_rows);
  call.segments = static_cast<int32_t>(num_segments(columns));
  return place(call, nullptr) + (has_marks ? choice_bitmap_bytes(num_rows, columns) : 0);
}

ChoiceCall choice_call(const ChoiceArgs& args) {
  ChoiceCall call{};
  call.scores = args.scores;
  call.rows = args.rows;
  call.marks = args.marks;
  call.choices = args.choices;
  call.columns = static_cast<int32_t>(args.columns);
  call.num_rows = static_cast<int32_t>(args.num_rows);
  call.num_marks = static_cast<int32_t>(args.num_marks);
  call.segments = static_cast<int32_t>(num_segments(args.columns));
  call.bitmaps = reinterpret_cast<uint32_t*>(args.scratch);
  call.bitmap_words = static_cast<int32_t>(bitmap_words(args.columns));
  const bool has_marks = args.num_marks > 0;
  place(call, args.scratch + (has_marks ? choice_bitmap_bytes(args.num_rows, args.columns) : 0));
  return call;
}

}  // namespace chatglm::kernels::cuda
