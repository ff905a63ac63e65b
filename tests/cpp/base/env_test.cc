// Environment variables: absent, empty, good and bad.
#include "base/env.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "base/thread_pool.h"

namespace chatglm {
namespace {

void set_variable(const char* name, const char* value) {
#ifdef _WIN32
  _putenv_s(name, value);
#else
  setenv(name, value, 1);
#endif
}

class EnvTest : public testing::Test {
 protected:
  // An empty variable counts as unset.
  ~EnvTest() override { set_variable("CHATGLM_NUM_THREADS", ""); }
};

TEST_F(EnvTest, NumThreads) {
  set_variable("CHATGLM_NUM_THREADS", "");
  EXPECT_EQ(env::num_threads(), std::nullopt);
  set_variable("CHATGLM_NUM_THREADS", "3");
  EXPECT_EQ(env::num_threads(), 3);
  EXPECT_EQ(default_num_threads(), 3);
  set_variable("CHATGLM_NUM_THREADS", "1000000");
  EXPECT_EQ(default_num_threads(), ThreadPool::kMaxThreads);
}

TEST_F(EnvTest, BadNumThreadsIsNamed) {
  for (const char* text : {"0", "-2", "two", "3x", " 3", "99999999999999"}) {
    set_variable("CHATGLM_NUM_THREADS", text);
    try {
      env::num_threads();
      FAIL() << "no error for " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      EXPECT_EQ(error.where(), "CHATGLM_NUM_THREADS");
      EXPECT_NE(error.message().find(text), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace chatglm
