#include "pipeline/demo_model.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace chatglm {
namespace {

#ifndef _WIN32
class DemoModelTest : public testing::Test {
 protected:
  void TearDown() override { unsetenv("CHATGLM_DEMO_MODEL"); }
};

TEST_F(DemoModelTest, AnEnvironmentVariableNamesIt) {
  setenv("CHATGLM_DEMO_MODEL", "/somewhere/else.gguf", 1);
  EXPECT_EQ(find_demo_model(), "/somewhere/else.gguf");
}

TEST_F(DemoModelTest, IsFoundFromABuildFolder) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  if (!program.starts_with(CHATGLM_SOURCE_DIR)) {
    GTEST_SKIP() << "this program was not built inside the source tree";
  }
  unsetenv("CHATGLM_DEMO_MODEL");
  EXPECT_EQ(find_demo_model(),
            std::filesystem::path(CHATGLM_SOURCE_DIR) / "models" / kDemoModelName);
}
#endif

}  // namespace
}  // namespace chatglm
