// The GGUF format, field by field: header, metadata, tensor table, and where the tensors lie.
#include "gguf/gguf_parser.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <set>
#include <utility>

#include "base/error.h"
#include "gguf/byte_reader.h"

namespace chatglm {
namespace {

constexpr uint32_t kMinVersion = 2;
constexpr uint32_t kMaxVersion = 3;
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTensorNameBytes = 64;
constexpr uint32_t kMaxDims = 4;
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMinAlignment = 8;
constexpr std::string_view kAlignmentKey = "general.alignment";
// The least bytes of an entry: an empty key, a type and a one-byte value; an empty name, one
// dimension, a type and an offset. With them a count is checked before anything is allocated.
constexpr uint64_t kMinKeyValueBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorInfoBytes = 8 + 4 + 8 + 4 + 8;

enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// ggml's tensor types by number, to name those that we can't run; gaps are retired numbers.
constexpr std::array<std::string_view, 40> kGgmlTypeNames{
    "F32",     "F16",    "Q4_0",    "Q4_1",  "",       "",      "Q5_0",  "Q5_1",
    "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
    "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
    "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16",  "",
    "",        "",       "TQ1_0",   "TQ2_0", "",       "",      "",      "MXFP4"};

std::string known_dtypes() {
  std::string names;
  for (const DTypeInfo& info : all_dtypes()) {
    if (!names.empty()) names += ", ";
    names += info.name;
  }
  return names;
}

// A tensor as the table describes it, before it is placed.
struct TensorInfo {
  GgufTensor tensor;
  uint64_t offset_bytes = 0;  // from the start of the data section
};

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& file)
      : bytes_(bytes), file_(file), reader_(bytes, file_) {}

  GgufContent parse() {
    check_magic();
    check_version();
    const uint64_t num_tensors = reader_.read<uint64_t>("the number of tensors");
    const uint64_t num_keys = reader_.read_count(kMinKeyValueBytes, "the metadata");
    if (num_tensors > reader_.remaining() / kMinTensorInfoBytes) {
      fail("the file is damaged or truncated: it announces " + std::to_string(num_tensors) +
           " tensors, more than its " + std::to_string(bytes_.size()) + " bytes can hold");
    }
    GgufContent content;
    for (uint64_t i = 0; i < num_keys; ++i) parse_key_value(content.metadata);
    const int64_t alignment = find_alignment(content.metadata);
    std::vector<TensorInfo> infos;
    infos.reserve(static_cast<std::size_t>(num_tensors));
    std::set<std::string, std::less<>> names;
    for (uint64_t i = 0; i < num_tensors; ++i) {
      infos.push_back(parse_tensor_info(i));
      const std::string& name = infos.back().tensor.name;
      if (!names.insert(name).second) {
        fail("expected unique tensor names, found it twice", printable(name));
      }
    }
    place_tensors(infos, alignment);
    content.tensors.reserve(infos.size());
    for (TensorInfo& info : infos) content.tensors.push_back(std::move(info.tensor));
    return content;
  }

 private:
  [[noreturn]] void fail(const std::string& message, std::string_view part = {},
                         ErrorKind kind = ErrorKind::kModelFile) const {
    throw Error(kind, message, part.empty() ? file_ : file_ + ": " + std::string(part));
  }

  bool starts_with(std::string_view text) const {
    return bytes_.size() >= text.size() &&
           std::equal(text.begin(), text.end(), bytes_.begin(),
                      [](char a, std::byte b) { return static_cast<std::byte>(a) == b; });
  }

  void check_magic() {
    if (starts_with("version https://git-lfs")) {
      fail(
          "expected a GGUF file, found a git-lfs pointer: fetch the real file with 'git lfs pull'");
    }
    if (starts_with("ggml")) {
      fail(
          "expected a GGUF file, found the older GGML format of chatglm.cpp: convert the original "
          "checkpoint with chatglm-convert");
    }
    if (!starts_with("GGUF")) {
      const std::size_t shown = std::min<std::size_t>(bytes_.size(), 4);
      fail("expected a GGUF file (one that begins with 'GGUF'), found one that begins with " +
           printable({reinterpret_cast<const char*>(bytes_.data()), shown}));
    }
    reader_.read<uint32_t>("the magic");
  }

  void check_version() {
    const uint32_t version = reader_.read<uint32_t>("the version");
    if (version >= kMinVersion && version <= kMaxVersion) return;
    if ((version & 0xffffu) == 0 && version != 0) {  // the bytes of a small number, swapped
      fail(
          "expected a little-endian GGUF file, found a big-endian one: convert the checkpoint "
          "for this machine");
    }
    fail("expected GGUF version 2 or 3, found version " + std::to_string(version));
  }

  void parse_key_value(std::map<std::string, GgufValue, std::less<>>& metadata) {
    const std::string key(reader_.read_string("a metadata key"));
    if (key.empty()) fail("expected a metadata key, found an empty one");
    if (key.size() > kMaxKeyBytes) {
      fail("expected metadata keys of at most " + std::to_string(kMaxKeyBytes) + " bytes, found " +
           std::to_string(key.size()));
    }
    const std::string shown = printable(key);
    const uint32_t type = reader_.read<uint32_t>("the type of " + shown);
    GgufValue value = type == kArray ? parse_array(shown) : parse_scalar(type, shown);
    if (!metadata.emplace(key, std::move(value)).second) {
      fail("expected unique metadata keys, found it twice", shown);
    }
  }

  GgufValue parse_scalar(uint32_t type, const std::string& key) {
    switch (type) {
      case kBool:
        return parse_bool(key);
      case kString:
        return std::string(reader_.read_string(key));
      case kFloat32:
      case kFloat64:
        return parse_float(type, key);
      default:
        return parse_integer(type, key);
    }
  }

  GgufValue parse_array(const std::string& key) {
    const uint32_t type = reader_.read<uint32_t>("the element type of " + key);
    if (type == kArray) fail("arrays of arrays are not supported", key);
    const uint64_t count = reader_.read_count(min_size_bytes(type, key), key);
    switch (type) {
      case kBool:
        return parse_elements<bool>(count, [&] { return parse_bool(key); });
      case kString:
        return parse_elements<std::string>(
            count, [&] { return std::string(reader_.read_string("an element of " + key)); });
      case kFloat32:
      case kFloat64:
        return parse_elements<double>(count, [&] { return parse_float(type, key); });
      default:
        return parse_elements<int64_t>(count, [&] { return parse_integer(type, key); });
    }
  }

  template <typename T, typename ParseElement>
  std::vector<T> parse_elements(uint64_t count, const ParseElement& parse_element) {
    std::vector<T> elements;
    elements.reserve(static_cast<std::size_t>(count));
    for (uint64_t i = 0; i < count; ++i) elements.push_back(parse_element());
    return elements;
  }

  uint64_t min_size_bytes(uint32_t type, const std::string& key) const {
    switch (type) {
      case kUint8:
      case kInt8:
      case kBool:
        return 1;
      case kUint16:
      case kInt16:
        return 2;
      case kUint32:
      case kInt32:
      case kFloat32:
        return 4;
      case kString:  // its length
      case kUint64:
      case kInt64:
      case kFloat64:
        return 8;
      default:
        fail_type(type, key);
    }
  }

  bool parse_bool(const std::string& key) {
    const uint8_t value = reader_.read<uint8_t>(key);
    if (value > 1) {
      fail("expected 0 or 1 for a boolean, found " + std::to_string(value), key);
    }
    return value == 1;
  }

  double parse_float(uint32_t type, const std::string& key) {
    if (type == kFloat32) return static_cast<double>(reader_.read<float>(key));
    return reader_.read<double>(key);
  }

  int64_t parse_integer(uint32_t type, const std::string& key) {
    switch (type) {
      case kUint8:
        return reader_.read<uint8_t>(key);
      case kInt8:
        return reader_.read<int8_t>(key);
      case kUint16:
        return reader_.read<uint16_t>(key);
      case kInt16:
        return reader_.read<int16_t>(key);
      case kUint32:
        return reader_.read<uint32_t>(key);
      case kInt32:
        return reader_.read<int32_t>(key);
      case kInt64:
        return reader_.read<int64_t>(key);
      case kUint64: {
        const uint64_t value = reader_.read<uint64_t>(key);
        if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
          fail("expected a number below 2^63, found " + std::to_string(value), key);
        }
        return static_cast<int64_t>(value);
      }
      default:
        fail_type(type, key);
    }
  }

  [[noreturn]] void fail_type(uint32_t type, const std::string& key) const {
    fail("expected a value type from 0 to 12, found " + std::to_string(type), key);
  }

  int64_t find_alignment(const std::map<std::string, GgufValue, std::less<>>& metadata) const {
    const auto found = metadata.find(kAlignmentKey);
    if (found == metadata.end()) return kDefaultAlignment;
    const int64_t* alignment = std::get_if<int64_t>(&found->second);
    if (alignment == nullptr) fail("expected a whole number, found another type", kAlignmentKey);
    if (*alignment < kMinAlignment || *alignment > std::numeric_limits<uint32_t>::max() ||
        !std::has_single_bit(static_cast<uint64_t>(*alignment))) {
      fail("expected a power of two of at least " + std::to_string(kMinAlignment) + ", found " +
               std::to_string(*alignment),
           kAlignmentKey);
    }
    return *alignment;
  }

  TensorInfo parse_tensor_info(uint64_t index) {
    const std::string what = "tensor " + std::to_string(index);
    TensorInfo info;
    info.tensor.name = reader_.read_string("the name of " + what);
    const std::string& name = info.tensor.name;
    if (name.empty() || name.size() > kMaxTensorNameBytes) {
      fail("expected a name of 1 to " + std::to_string(kMaxTensorNameBytes) + " bytes, found " +
               std::to_string(name.size()),
           what);
    }
    const std::string shown = printable(name);
    const uint32_t num_dims = reader_.read<uint32_t>("the rank of " + shown);
    if (num_dims < 1 || num_dims > kMaxDims) {
      fail("expected 1 to 4 dimensions, found " + std::to_string(num_dims), shown);
    }
    std::array<uint64_t, kMaxDims> dims{1, 1, 1, 1};  // the fastest-moving first
    for (uint32_t i = 0; i < num_dims; ++i) {
      dims[i] = reader_.read<uint64_t>("the shape of " + shown);
    }
    const uint32_t ggml_type = reader_.read<uint32_t>("the type of " + shown);
    info.offset_bytes = reader_.read<uint64_t>("the offset of " + shown);
    info.tensor.view = make_view(num_dims, dims, ggml_type, shown);
    return info;
  }

  TensorView make_view(uint32_t num_dims, const std::array<uint64_t, kMaxDims>& dims,
                       uint32_t ggml_type, const std::string& name) const {
    const DTypeInfo* dtype = find_dtype_by_ggml(ggml_type);
    if (dtype == nullptr) {
      const bool is_named = ggml_type < kGgmlTypeNames.size() && !kGgmlTypeNames[ggml_type].empty();
      fail("expected a tensor type out of " + known_dtypes() + ", found " +
               (is_named ? std::string(kGgmlTypeNames[ggml_type])
                         : "the unknown type " + std::to_string(ggml_type)),
           name, ErrorKind::kUnsupportedModel);
    }
    if (dims[2] != 1 || dims[3] != 1) {
      fail("expected a vector or a matrix, found the shape " + shape_text(num_dims, dims), name,
           ErrorKind::kUnsupportedModel);
    }
    // No tensor is larger than the file, so sizes are bounded before they are multiplied.
    const uint64_t columns = dims[0], rows = dims[1];
    const uint64_t block_elements = static_cast<uint64_t>(dtype->block_elements);
    const uint64_t block_bytes = static_cast<uint64_t>(dtype->block_bytes);
    if (columns == 0 || rows == 0) {
      fail("expected dimensions above zero, found the shape " + shape_text(num_dims, dims), name);
    }
    if (columns % block_elements != 0) {
      fail("expected rows of a multiple of " + std::to_string(block_elements) + " elements for " +
               std::string(dtype->name) + ", found the shape " + shape_text(num_dims, dims),
           name);
    }
    const uint64_t max_blocks = bytes_.size() / block_bytes;
    const uint64_t blocks_per_row = columns / block_elements;
    if (blocks_per_row > max_blocks || rows > max_blocks / blocks_per_row) {
      fail("the file is damaged or truncated: the shape " + shape_text(num_dims, dims) + " in " +
               std::string(dtype->name) + " needs more than the file's " +
               std::to_string(bytes_.size()) + " bytes",
           name);
    }
    return {.dtype = dtype->dtype,
            .rank = num_dims == 1 ? 1 : 2,
            .rows = static_cast<int64_t>(rows),
            .cols = static_cast<int64_t>(columns),
            .data = nullptr};
  }

  // Row-major, as everywhere outside ggml: "(rows, columns)".
  static std::string shape_text(uint32_t num_dims, const std::array<uint64_t, kMaxDims>& dims) {
    std::string text = "(";
    for (uint32_t i = num_dims; i > 0; --i) {
      text += std::to_string(dims[i - 1]) + (i > 1 ? ", " : ")");
    }
    return text;
  }

  // Sets the data pointers: aligned, inside the file, and no two tensors over the same bytes.
  void place_tensors(std::vector<TensorInfo>& infos, int64_t alignment) const {
    const uint64_t step = static_cast<uint64_t>(alignment);
    const uint64_t file_bytes = bytes_.size();
    const uint64_t data_start = (reader_.offset() + step - 1) / step * step;
    std::vector<const TensorInfo*> by_offset;
    for (TensorInfo& info : infos) {
      const std::string shown = printable(info.tensor.name);
      const uint64_t size_bytes = static_cast<uint64_t>(info.tensor.view.size_bytes());
      if (info.offset_bytes % step != 0) {
        fail("expected an offset that is a multiple of " + std::to_string(step) + ", found " +
                 std::to_string(info.offset_bytes),
             shown);
      }
      const uint64_t data_bytes = data_start < file_bytes ? file_bytes - data_start : 0;
      if (info.offset_bytes > data_bytes || size_bytes > data_bytes - info.offset_bytes) {
        fail("the file is truncated: the tensor takes " + std::to_string(size_bytes) +
                 " bytes from offset " + std::to_string(info.offset_bytes) + " of the " +
                 std::to_string(data_bytes) + " data bytes in the file",
             shown);
      }
      info.tensor.view.data = bytes_.data() + data_start + info.offset_bytes;
      by_offset.push_back(&info);
    }
    std::sort(by_offset.begin(), by_offset.end(), [](const TensorInfo* a, const TensorInfo* b) {
      return a->offset_bytes < b->offset_bytes;
    });
    for (std::size_t i = 1; i < by_offset.size(); ++i) {
      const TensorInfo& before = *by_offset[i - 1];
      const uint64_t end =
          before.offset_bytes + static_cast<uint64_t>(before.tensor.view.size_bytes());
      if (end > by_offset[i]->offset_bytes) {
        fail("expected tensors side by side, found its bytes overlapping those of " +
                 printable(before.tensor.name),
             printable(by_offset[i]->tensor.name));
      }
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& file_;
  ByteReader reader_;
};

}  // namespace

GgufContent parse_gguf(std::span<const std::byte> bytes, const std::string& file) {
  return Parser(bytes, file).parse();
}

}  // namespace chatglm
