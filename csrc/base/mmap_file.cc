// Memory mapping on POSIX and on Windows.
#include "base/mmap_file.h"

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "base/error.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace chatglm {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message) {
  throw Error(ErrorKind::kModelFile, message, display_name(path));
}

// What can be told before opening, in words of the user's world.
void check_is_file(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    fail(path, "expected a model file, found nothing under this name");
  }
  if (status.type() == std::filesystem::file_type::none) {
    fail(path, "can't be examined: " + error.message());
  }
  if (status.type() == std::filesystem::file_type::directory) {
    fail(path, "expected a model file, found a folder");
  }
  if (status.type() != std::filesystem::file_type::regular) {
    fail(path, "expected a model file, found a device, pipe or socket");
  }
}

struct Mapping {
  const std::byte* data;
  std::size_t size_bytes;
};

#ifdef _WIN32

class Handle {
 public:
  explicit Handle(HANDLE handle) : handle_(handle) {}
  ~Handle() {
    if (is_valid()) CloseHandle(handle_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  bool is_valid() const { return handle_ != nullptr && handle_ != INVALID_HANDLE_VALUE; }
  HANDLE get() const { return handle_; }

 private:
  HANDLE handle_;
};

std::string last_error() {
  return std::system_category().message(static_cast<int>(GetLastError()));
}

Mapping map_file(const std::filesystem::path& path) {
  const Handle file(CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                                FILE_ATTRIBUTE_NORMAL, nullptr));
  if (!file.is_valid()) fail(path, "can't be opened: " + last_error());
  LARGE_INTEGER size;
  if (!GetFileSizeEx(file.get(), &size)) fail(path, "has no readable size: " + last_error());
  if (size.QuadPart == 0) fail(path, "expected a model file, found an empty file");
  const Handle mapping(CreateFileMappingW(file.get(), nullptr, PAGE_READONLY, 0, 0, nullptr));
  if (!mapping.is_valid()) fail(path, "can't be mapped into memory: " + last_error());
  const void* data = MapViewOfFile(mapping.get(), FILE_MAP_READ, 0, 0, 0);  // outlives both handles
  if (data == nullptr) fail(path, "can't be mapped into memory: " + last_error());
  return {static_cast<const std::byte*>(data), static_cast<std::size_t>(size.QuadPart)};
}

void unmap(const std::byte* data, std::size_t) {
  if (data != nullptr) UnmapViewOfFile(data);
}

#else

class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  ~FileDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

std::string last_error() {
  return std::generic_category().message(errno);
}

Mapping map_file(const std::filesystem::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail(path, "can't be opened: " + last_error());
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail(path, "has no readable size: " + last_error());
  if (status.st_size == 0) fail(path, "expected a model file, found an empty file");
  const std::size_t size_bytes = static_cast<std::size_t>(status.st_size);
  void* data = ::mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail(path, "can't be mapped into memory: " + last_error());
  return {static_cast<const std::byte*>(data), size_bytes};
}

void unmap(const std::byte* data, std::size_t size_bytes) {
  if (data != nullptr) ::munmap(const_cast<std::byte*>(data), size_bytes);
}

enum class PageRounding { kInside, kCovering };

void advise(std::span<const std::byte> part, int advice, PageRounding rounding) {
  const std::uintptr_t page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(part.data());
  std::uintptr_t end = begin + part.size();
  if (rounding == PageRounding::kInside) {
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
  } else {
    begin = begin / page * page;
  }
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

#endif

}  // namespace

MmapFile::MmapFile(const std::filesystem::path& path) : path_(path) {
  check_is_file(path);
  const Mapping mapping = map_file(path);
  data_ = mapping.data;
  size_bytes_ = mapping.size_bytes;
}

MmapFile::~MmapFile() {
  unmap(data_, size_bytes_);
}

MmapFile::MmapFile(MmapFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

MmapFile& MmapFile::operator=(MmapFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

#ifdef _WIN32
void MmapFile::will_need(std::span<const std::byte>) const {}
void MmapFile::release(std::span<const std::byte>) const {}
#else
void MmapFile::will_need(std::span<const std::byte> part) const {
  advise(part, MADV_WILLNEED, PageRounding::kCovering);
}

void MmapFile::release(std::span<const std::byte> part) const {
  advise(part, MADV_DONTNEED, PageRounding::kInside);
}
#endif

std::string display_name(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return std::string(text.begin(), text.end());
}

}  // namespace chatglm
