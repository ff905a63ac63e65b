#include "pipeline/demo_model.h"

#include <algorithm>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/env.h"
#include "base/error.h"

#ifdef _WIN32
#include <windows.h>
#elif defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

namespace chatglm {
namespace {

namespace fs = std::filesystem;

// Links resolved; empty where the system does not say.
fs::path program_path() {
  std::error_code ignored;
#ifdef _WIN32
  std::wstring buffer(32768, L'\0');  // the longest path there is
  buffer.resize(GetModuleFileNameW(nullptr, buffer.data(), 32768));
  return fs::canonical(buffer, ignored);
#elif defined(__APPLE__)
  uint32_t size = 0;
  _NSGetExecutablePath(nullptr, &size);
  std::string buffer(size, '\0');
  if (_NSGetExecutablePath(buffer.data(), &size) != 0) return {};
  return fs::canonical(buffer.c_str(), ignored);
#else
  return fs::read_symlink("/proc/self/exe", ignored);
#endif
}

// lib/python3.12/site-packages and its like under `prefix`, the newest Python first.
std::vector<fs::path> python_package_folders(const fs::path& prefix) {
  std::vector<fs::path> folders = {prefix / "Lib" / "site-packages"};
  for (const char* lib : {"lib", "lib64"}) {
    std::vector<fs::path> pythons;
    std::error_code ignored;
    for (fs::directory_iterator entry(prefix / lib, ignored), end; entry != end;
         entry.increment(ignored)) {
      if (entry->path().filename().string().starts_with("python3"))
        pythons.push_back(entry->path());
    }
    std::sort(pythons.rbegin(), pythons.rend());
    for (const fs::path& python : pythons) {
      folders.push_back(python / "site-packages");
      folders.push_back(python / "dist-packages");  // Debian's name
    }
  }
  return folders;
}

std::optional<fs::path> find_under(const fs::path& prefix) {
  std::vector<fs::path> folders = {prefix / "models", prefix / "share" / "chatglm_cpp"};
  for (const fs::path& packages : python_package_folders(prefix)) {
    folders.push_back(packages / "chatglm_cpp" / "models");
  }
  for (const fs::path& folder : folders) {
    std::error_code ignored;
    if (fs::is_regular_file(folder / kDemoModelName, ignored)) return folder / kDemoModelName;
  }
  return std::nullopt;
}

}  // namespace

fs::path find_demo_model() {
  if (const std::optional<std::string> named = env::demo_model()) return *named;
  const fs::path program = program_path();
  for (fs::path folder = program.parent_path(); !folder.empty(); folder = folder.parent_path()) {
    if (std::optional<fs::path> found = find_under(folder)) return *found;
    if (folder == folder.root_path()) break;
  }
  throw Error(ErrorKind::kModelFile,
              std::string("the bundled demo model ") + kDemoModelName +
                  " was not found beside this program; name a model file, or set "
                  "CHATGLM_DEMO_MODEL",
              program.string());
}

}  // namespace chatglm
