// The name of this machine's processor, for people.
#pragma once

#include <string>

namespace chatglm {

// "AMD EPYC 7763 64-Core Processor"; the architecture's name where the system does not tell more.
std::string cpu_brand();

}  // namespace chatglm
