// Finding a device by name.
#include "backend/registry.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace chatglm {
namespace {

TEST(BackendRegistry, CpuIsAlwaysThere) {
  ASSERT_FALSE(all_backends().empty());
  bool found = false;
  for (const BackendEntry& entry : all_backends()) {
    found = found || (entry.device == "cpu" && entry.available());
  }
  EXPECT_TRUE(found);
}

TEST(BackendRegistry, CreatesByNameAndByItself) {
  EXPECT_EQ(create_backend("cpu", {2})->device(), "cpu");
  EXPECT_EQ(create_backend("cpu", {2})->num_threads(), 2);
  EXPECT_GE(create_backend("auto", {})->num_threads(), 1);
}

TEST(BackendRegistry, DescribesItself) {
  const auto backend = create_backend("cpu", {1});
  const std::string text = backend->description();
  EXPECT_NE(text.find(backend->isa()), std::string::npos) << text;
  EXPECT_NE(text.find("1 thread"), std::string::npos) << text;
  EXPECT_NE(text.front(), ',') << "no processor in: " << text;
}

TEST(BackendRegistry, AnUnknownDeviceIsNamedWithTheKnownOnes) {
  for (const char* name : {"", "tpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda: 1",
                           "cuda:1x", "cuda:99999999999", "cuda1", "auto:1"}) {
    try {
      create_backend(name, {});
      ADD_FAILURE() << "created '" << name << "'";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      EXPECT_NE(error.message().find("'" + std::string(name) + "'"), std::string::npos);
      EXPECT_NE(error.message().find("auto, cuda, cuda:N, cpu"), std::string::npos) << error.what();
    }
  }
}

TEST(BackendRegistry, ADeviceThatIsNotHereSaysWhy) {
  for (const BackendEntry& entry : all_backends()) {
    const std::string name(entry.device);
    const std::string last = name + ":1000000";
    if (!entry.is_numbered) continue;
    EXPECT_FALSE(entry.available(1'000'000)) << name;
    try {
      create_backend(last, {});
      ADD_FAILURE() << "created " << last;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
      EXPECT_EQ(error.where(), "device '" + last + "'");
      EXPECT_EQ(error.message(), entry.why_unavailable(1'000'000));
    }
    if (entry.available()) continue;
    EXPECT_NE(create_backend("auto", {1})->device(), name);
  }
}

TEST(BackendRegistry, ANumberOfThreadsThatCannotBe) {
  for (const int threads : {-1, 100000}) {
    try {
      create_backend("cpu", {threads});
      ADD_FAILURE() << "accepted " << threads;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    }
  }
}

}  // namespace
}  // namespace chatglm
