// Mapping, moving, hints, and the sentence for each way in which a path is no file.
#include "base/mmap_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <utility>

#include "base/error.h"
#include "support/temp_folder.h"

namespace chatglm {
namespace {

std::string text_of(const MmapFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MmapFile, MapsTheBytes) {
  const test::TempFolder folder;
  const auto path = folder.path() / "模型.bin";
  std::ofstream(path, std::ios::binary) << "hello";
  MmapFile file(path);
  EXPECT_EQ(text_of(file), "hello");
  EXPECT_EQ(file.path(), path);

  MmapFile moved(std::move(file));
  EXPECT_EQ(text_of(moved), "hello");
  std::ofstream(folder.path() / "other", std::ios::binary) << "other";
  moved = MmapFile(folder.path() / "other");
  EXPECT_EQ(text_of(moved), "other");
}

TEST(MmapFile, HintsKeepTheContent) {
  const test::TempFolder folder;
  const auto path = folder.path() / "pages";
  std::string content(100'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7);
  std::ofstream(path, std::ios::binary) << content;
  const MmapFile file(path);
  for (const std::size_t offset : {0u, 1u, 4096u, 50'001u}) {
    file.will_need(file.bytes().subspan(offset));
    file.release(file.bytes().subspan(offset));
    file.release(file.bytes().subspan(offset, 10));
    file.release(file.bytes().subspan(offset, 0));
    EXPECT_EQ(text_of(file), content);
  }
}

void expect_refused(const std::filesystem::path& path, const std::string& part_of_message) {
  try {
    const MmapFile file(path);
    FAIL() << "no error for " << path;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kModelFile);
    EXPECT_EQ(error.where(), display_name(path));
    EXPECT_NE(error.message().find(part_of_message), std::string::npos) << error.what();
  }
}

TEST(MmapFile, SaysWhyAFileIsRefused) {
  const test::TempFolder folder;
  expect_refused(folder.path() / "missing", "found nothing under this name");
  expect_refused(folder.path(), "found a folder");
  std::ofstream(folder.path() / "empty").close();
  expect_refused(folder.path() / "empty", "found an empty file");
#ifndef _WIN32
  expect_refused("/dev/null", "found a device");
#endif
}

}  // namespace
}  // namespace chatglm
