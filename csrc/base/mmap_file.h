// A file mapped read-only into memory. Owns the mapping; knows nothing of its content.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace chatglm {

class MmapFile {
 public:
  // Throws Error{kModelFile, where = path}: missing, not readable, a folder, empty.
  explicit MmapFile(const std::filesystem::path& path);
  ~MmapFile();
  MmapFile(MmapFile&& other) noexcept;
  MmapFile& operator=(MmapFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  const std::filesystem::path& path() const { return path_; }

  // Tells the system that these bytes will be read soon, in order / are not needed any more (the
  // content stays valid: a later read faults them in again). A hint; does nothing where
  // unsupported. release() leaves the pages alone that the part shares with its neighbours.
  void will_need(std::span<const std::byte> part) const;
  void release(std::span<const std::byte> part) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

// The path as UTF-8, for messages.
std::string display_name(const std::filesystem::path& path);

}  // namespace chatglm
