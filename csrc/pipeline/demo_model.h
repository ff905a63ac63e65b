// Where the bundled demo model lies.
#pragma once

#include <filesystem>

namespace chatglm {

inline constexpr const char* kDemoModelName = "chatglm3-demo-q8_0.gguf";

// The environment variable CHATGLM_DEMO_MODEL; else the first that exists, seen from each folder
// above this program: models/, share/chatglm_cpp/, and the Python package's models/ in the folders
// where pip puts it. Throws Error{kModelFile} where there is none.
std::filesystem::path find_demo_model();

}  // namespace chatglm
