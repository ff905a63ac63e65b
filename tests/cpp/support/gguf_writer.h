// Writes small GGUF files in memory, right or deliberately wrong: every number can be forced.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace chatglm::test {

// Appends little-endian numbers and GGUF strings.
class ByteWriter {
 public:
  template <typename T>
  ByteWriter& number(T value) {
    const std::size_t offset = bytes_.size();
    bytes_.resize(offset + sizeof(T));
    std::memcpy(bytes_.data() + offset, &value, sizeof(T));
    return *this;
  }
  ByteWriter& raw(std::string_view text) {
    const auto* data = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), data, data + text.size());
    return *this;
  }
  ByteWriter& string(std::string_view text) { return number<uint64_t>(text.size()).raw(text); }
  ByteWriter& append(const std::vector<std::byte>& other) {
    bytes_.insert(bytes_.end(), other.begin(), other.end());
    return *this;
  }
  ByteWriter& pad_to(std::size_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;  // ggml's order: the fastest-moving first
    uint32_t ggml_type = 0;
    std::vector<std::byte> data;
    int64_t forced_offset = -1;  // from the start of the data section; -1: the right one
  };

  // Public on purpose: a test breaks what it likes.
  std::string magic = "GGUF";
  uint32_t version = 3;
  int64_t forced_num_tensors = -1;
  int64_t forced_num_keys = -1;
  std::size_t alignment = 32;
  std::vector<Tensor> tensors;

  GgufWriter& key(std::string_view name, uint32_t type, const ByteWriter& value) {
    keys_.string(name).number<uint32_t>(type).append(value.bytes());
    ++num_keys_;
    return *this;
  }
  template <typename T>
  GgufWriter& number_key(std::string_view name, uint32_t type, T value) {
    return key(name, type, ByteWriter().number<T>(value));
  }
  GgufWriter& uint32_key(std::string_view name, uint32_t value) {
    return number_key<uint32_t>(name, 4, value);
  }
  GgufWriter& float_key(std::string_view name, float value) {
    return number_key<float>(name, 6, value);
  }
  GgufWriter& bool_key(std::string_view name, bool value) {
    return number_key<uint8_t>(name, 7, value ? 1 : 0);
  }
  GgufWriter& string_key(std::string_view name, std::string_view value) {
    return key(name, 8, ByteWriter().string(value));
  }
  GgufWriter& strings_key(std::string_view name, const std::vector<std::string>& values) {
    ByteWriter array;
    array.number<uint32_t>(8).number<uint64_t>(values.size());
    for (const std::string& value : values) array.string(value);
    return key(name, 9, array);
  }
  template <typename T>
  GgufWriter& numbers_key(std::string_view name, uint32_t element_type,
                          const std::vector<T>& values) {
    ByteWriter array;
    array.number<uint32_t>(element_type).template number<uint64_t>(values.size());
    for (const T value : values) array.template number<T>(value);
    return key(name, 9, array);
  }

  // rows == 0: a vector of `cols` elements. values: rows x cols floats, encoded as dtype.
  GgufWriter& tensor(std::string_view name, DType dtype, uint64_t rows, uint64_t cols,
                     const std::vector<float>& values) {
    const DTypeInfo& info = dtype_info(dtype);
    Tensor entry;
    entry.name = name;
    entry.dims = rows == 0 ? std::vector<uint64_t>{cols} : std::vector<uint64_t>{cols, rows};
    entry.ggml_type = info.ggml_type;
    const int64_t count = static_cast<int64_t>(values.size());
    entry.data.resize(static_cast<std::size_t>(info.row_bytes(count)));
    info.encode(values.data(), entry.data.data(), count);
    tensors.push_back(std::move(entry));
    return *this;
  }

  std::vector<std::byte> bytes() const {
    ByteWriter file, data;
    file.raw(magic).number<uint32_t>(version);
    file.number<int64_t>(forced_num_tensors >= 0 ? forced_num_tensors
                                                 : static_cast<int64_t>(tensors.size()));
    file.number<int64_t>(forced_num_keys >= 0 ? forced_num_keys : num_keys_);
    file.append(keys_.bytes());
    for (const Tensor& entry : tensors) {
      data.pad_to(alignment);
      file.string(entry.name).number<uint32_t>(static_cast<uint32_t>(entry.dims.size()));
      for (const uint64_t dim : entry.dims) file.number<uint64_t>(dim);
      file.number<uint32_t>(entry.ggml_type);
      file.number<int64_t>(entry.forced_offset >= 0 ? entry.forced_offset
                                                    : static_cast<int64_t>(data.bytes().size()));
      data.append(entry.data);
    }
    return file.pad_to(alignment).append(data.bytes()).bytes();
  }

  void write(const std::filesystem::path& path) const {
    const std::vector<std::byte> content = bytes();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(content.data()),
               static_cast<std::streamsize>(content.size()));
  }

 private:
  ByteWriter keys_;
  int64_t num_keys_ = 0;
};

}  // namespace chatglm::test
