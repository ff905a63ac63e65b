// The choice of a kernel table: the order of the list, and CHATGLM_ISA.
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "kernels/test_support.h"

namespace chatglm::kernels {
namespace {

// Sets CHATGLM_ISA for one test and puts back what was there.
class ForcedIsa {
 public:
  explicit ForcedIsa(const std::optional<std::string>& name) {
    if (const char* value = std::getenv("CHATGLM_ISA")) before_ = value;
    set(name);
  }
  ~ForcedIsa() { set(before_); }
  ForcedIsa(const ForcedIsa&) = delete;
  ForcedIsa& operator=(const ForcedIsa&) = delete;

 private:
  static void set(const std::optional<std::string>& name) {
#if defined(_WIN32)
    _putenv_s("CHATGLM_ISA", name.value_or("").c_str());
#else
    if (name) {
      setenv("CHATGLM_ISA", name->c_str(), 1);
    } else {
      unsetenv("CHATGLM_ISA");
    }
#endif
  }
  std::optional<std::string> before_;
};

std::string refusal(const std::string& name) {
  const ForcedIsa forced(name);
  try {
    select_kernel_table();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_EQ(error.where(), "CHATGLM_ISA");
    return error.message();
  }
  ADD_FAILURE() << "'" << name << "' was accepted";
  return "";
}

TEST(SelectKernelTable, ListIsOrderedBestFirst) {
  std::vector<std::string> names;
  for (const KernelTable* table : all_kernel_tables()) names.emplace_back(table->name);
#if defined(__x86_64__) || defined(_M_X64)
  std::vector<std::string> expected{"amx", "avx512_vnni", "avx_vnni", "avx2", "generic"};
  for (const char* optional : {"amx", "avx_vnni"}) {  // where the compiler knows them
    if (std::find(names.begin(), names.end(), optional) == names.end()) {
      std::erase(expected, optional);
    }
  }
  EXPECT_EQ(names, expected);
#elif defined(__aarch64__) || defined(_M_ARM64)
  EXPECT_EQ(names, (std::vector<std::string>{"neon_dotprod", "neon", "generic"}));
#else
  EXPECT_EQ(names, (std::vector<std::string>{"generic"}));
#endif
}

TEST(SelectKernelTable, TakesTheFirstSupported) {
  const ForcedIsa none(std::nullopt);
  for (const KernelTable* table : all_kernel_tables()) {
    if (!table->supported()) continue;
    EXPECT_EQ(&select_kernel_table(), table);
    return;
  }
  FAIL() << "no table is supported";
}

TEST(SelectKernelTable, ObeysTheEnvironment) {
  int forced_tables = 0;
  for (const KernelTable* table : all_kernel_tables()) {
    if (!table->supported()) continue;
    const ForcedIsa forced{std::string(table->name)};
    EXPECT_EQ(&select_kernel_table(), table) << table->name;
    ++forced_tables;
  }
  EXPECT_GE(forced_tables, 1);
}

TEST(SelectKernelTable, RefusesWhatThisCpuLacks) {
  for (const KernelTable* table : all_kernel_tables()) {
    if (table->supported()) continue;
    const std::string message = refusal(std::string(table->name));
    EXPECT_NE(message.find("'" + std::string(table->name) + "' is not supported by this CPU"),
              std::string::npos)
        << message;
  }
}

TEST(SelectKernelTable, RefusesAnUnknownNameAndNamesTheKnown) {
  for (const std::string name : {"avx1024", "AVX2", "gener", "generic "}) {
    const std::string message = refusal(name);
    EXPECT_NE(message.find("'" + name + "' is not an instruction set of this build"),
              std::string::npos)
        << message;
    EXPECT_NE(message.find("generic"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace chatglm::kernels
