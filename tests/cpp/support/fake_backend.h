// A backend of plain memory with a limit, for tests of what only takes memory from it.
#pragma once

#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/error.h"

namespace chatglm::testing_support {

class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(int64_t memory_bytes = std::numeric_limits<int64_t>::max())
      : memory_left_bytes_(memory_bytes) {}

  int64_t allocated_bytes() const { return allocated_bytes_; }
  void set_memory_left(int64_t bytes) { memory_left_bytes_ = bytes; }
  // As of a device that does not share the host's.
  void set_own_memory_free(int64_t bytes) { own_memory_free_bytes_ = bytes; }

  std::string_view device() const override { return "fake"; }
  std::string description() const override { return "fake"; }
  std::string_view isa() const override { return "fake"; }
  int num_threads() const override { return 1; }
  std::optional<int64_t> free_memory_bytes() const override { return own_memory_free_bytes_; }
  std::unique_ptr<Buffer> allocate(int64_t size_bytes) override {
    if (size_bytes > memory_left_bytes_) throw Error(ErrorKind::kDevice, "out of fake memory");
    memory_left_bytes_ -= size_bytes;
    allocated_bytes_ += size_bytes;
    return std::make_unique<VectorBuffer>(size_bytes);
  }
  std::unique_ptr<Buffer> allocate_host(int64_t size_bytes) override {
    return std::make_unique<VectorBuffer>(size_bytes);
  }
  void upload(void* destination, const void* source, int64_t size_bytes) override {
    std::memcpy(destination, source, static_cast<std::size_t>(size_bytes));
  }
  void download(void* destination, const void* source, int64_t size_bytes) override {
    std::memcpy(destination, source, static_cast<std::size_t>(size_bytes));
  }

  std::unique_ptr<Weight> load_matrix(std::span<const TensorView>, ReleaseHint, void*) override {
    unused();
  }
  std::unique_ptr<Weight> load_table(const TensorView&, ReleaseHint, void*) override { unused(); }
  void reserve(int64_t, int64_t) override { unused(); }
  StagedBatch stage(const Batch&) override { unused(); }
  void embed(const Weight&, const int32_t*, int64_t, float*) override { unused(); }
  void rms_norm(const kernels::RmsNormArgs&) override { unused(); }
  void layer_norm(const kernels::LayerNormArgs&) override { unused(); }
  void linear(const Weight&, const float*, const LinearInput&, int64_t, float*, bool,
              int64_t) override {
    unused();
  }
  void rope_table(const kernels::RopeTableArgs&) override { unused(); }
  void rope(const kernels::RopeArgs&) override { unused(); }
  void kv_store(const kernels::KvStoreArgs&) override { unused(); }
  void paged_attention(const kernels::PagedAttentionArgs&) override { unused(); }
  void silu_mul(const kernels::SiluMulArgs&) override { unused(); }
  void gelu(const kernels::GeluArgs&) override { unused(); }
  void gather_rows(const float*, int64_t, const int32_t*, int64_t, float*) override { unused(); }

 private:
  class VectorBuffer final : public Buffer {
   public:
    explicit VectorBuffer(int64_t size)
        : Buffer(nullptr, size), bytes_(static_cast<std::size_t>(size)) {
      data_ = bytes_.data();
    }

   private:
    std::vector<std::byte> bytes_;
  };
  [[noreturn]] static void unused() {
    throw std::logic_error("only memory is to be had from this backend");
  }

  int64_t memory_left_bytes_;
  int64_t allocated_bytes_ = 0;
  std::optional<int64_t> own_memory_free_bytes_;
};

}  // namespace chatglm::testing_support
