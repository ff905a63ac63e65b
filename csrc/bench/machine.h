// What this machine can do, measured in the same run as the model: the ceiling beside each figure.
#pragma once

#include <cstdint>

#include "kernels/cpu/kernel_table.h"

namespace chatglm {

// What `num_threads` threads can do at most.
struct Ceiling {
  int num_threads = 0;
  double read_bytes_per_second = 0.0;
  double operations_per_second = 0.0;
};

// Bytes a second of `num_threads` threads reading a gigabyte that no cache holds, in one to four
// streams a thread; best of several. Throws Error{kDevice} where that much memory is missing.
double measure_read_bandwidth(int num_threads);

// Operations a second (a multiply-add is two) of `num_threads` threads running `loop`, a
// register-only loop of a kernel table; best of several.
double measure_peak(int num_threads, kernels::PeakLoop loop);

// Largest resident set of this process so far, in bytes; 0 where the system does not tell.
int64_t peak_rss_bytes();

}  // namespace chatglm
