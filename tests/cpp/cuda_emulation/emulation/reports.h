// What kernels did that no kernel may do, until somebody takes it.
#pragma once

#include <string>
#include <vector>

namespace cuda_emulation {

void add_report(std::string sentence);
// How many there were since the process began.
std::size_t report_count();
// Those since the last call.
std::vector<std::string> take_kept_reports();
std::string all_reports();  // one a line, "" for none

}  // namespace cuda_emulation
