// Lists of devices, and how layers are divided among them. What needs a GPU is tested where one is
// emulated.
#include "pipeline/devices.h"

#include <gtest/gtest.h>

#include <functional>

#include "backend/registry.h"
#include "base/error.h"

namespace chatglm {
namespace {

using Names = std::vector<std::string>;
using Layers = std::vector<int64_t>;

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Devices, AListNamesEach) {
  EXPECT_EQ(split_device_list("auto"), Names({"auto"}));
  EXPECT_EQ(split_device_list("cuda:1"), Names({"cuda:1"}));
  EXPECT_EQ(split_device_list("cuda:0,1"), Names({"cuda:0", "cuda:1"}));
  EXPECT_EQ(split_device_list("cuda:2,0,11"), Names({"cuda:2", "cuda:0", "cuda:11"}));
  EXPECT_EQ(split_device_list("cuda:0,"), Names({"cuda:0", "cuda:"}));  // refused as a name
  EXPECT_TRUE(contains(refusal([] { split_device_list("cuda:0,1,0"); }), "cuda:0 twice"));
}

TEST(Devices, LayersGoByFreeMemory) {
  EXPECT_EQ(divide_layers(28, Layers({80})), Layers({28}));
  EXPECT_EQ(divide_layers(28, Layers({80, 80})), Layers({14, 14}));
  EXPECT_EQ(divide_layers(28, Layers({60, 20})), Layers({21, 7}));
  EXPECT_EQ(divide_layers(10, Layers({1, 1, 1})), Layers({3, 4, 3}));
  EXPECT_EQ(divide_layers(3, Layers({1000, 1, 1})), Layers({1, 1, 1}));
  EXPECT_EQ(divide_layers(28, Layers({1, 1000})), Layers({1, 27}));
  EXPECT_EQ(divide_layers(2, Layers({5, 5, 5, 5})), Layers({1, 1, 0, 0}));
  EXPECT_EQ(divide_layers(5, Layers({0, 0})), Layers({1, 4}));
}

TEST(Devices, TheCpuHasAllLayersWhereNoneGoToAGpu) {
  for (const auto& [device, gpu_layers] :
       {std::pair<const char*, std::optional<int64_t>>{"cpu", std::nullopt},
        {"cpu", 0},
        {"cuda", 0}}) {
    Devices devices(device, gpu_layers, 1, 28);
    const std::vector<PlacedLayers> parts = devices.placement().of(28);
    ASSERT_EQ(parts.size(), 1u);
    EXPECT_EQ(parts[0].backend->device(), "cpu");
    EXPECT_EQ(devices.description(), parts[0].backend->description());
  }
}

TEST(Devices, InputsAreRecordedOnTheOnlyOne) {
  Devices devices("cpu", std::nullopt, 1, 28);
  RecordingBackend& recorder = devices.record_inputs();
  EXPECT_EQ(devices.placement().of(28)[0].backend, &recorder);
}

TEST(Devices, RefusesWhatMakesNoSense) {
  EXPECT_TRUE(contains(refusal([] { Devices("cpu", -1, 1, 28); }), "0 or more, found -1"));
  EXPECT_TRUE(contains(refusal([] { Devices("cpu", 5, 1, 28); }),
                       "gpu_layers is for a GPU, found 5 with device 'cpu'"));
  EXPECT_TRUE(contains(refusal([] { Devices("abacus", {}, 1, 28); }), "unknown device"));
  if (!all_backends().front().available()) {
    // A GPU that is asked for by a number of layers is not replaced by something slower.
    EXPECT_TRUE(contains(refusal([] { Devices("auto", 5, 1, 28); }), "device 'cuda'"));
  }
}

}  // namespace
}  // namespace chatglm
