// What this machine can do, measured in the same run as the model: the ceiling beside each figure.
#pragma once

#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "tensor/dtype.h"

namespace chatglm {

// What `num_threads` threads, or the device that they serve, can do at most.
struct Ceiling {
  int num_threads = 0;
  double bytes_per_second = 0.0;  // read by threads, copied by a device
  double operations_per_second = 0.0;
};

// Bytes a second of `num_threads` threads reading a gigabyte that no cache holds, in one to four
// streams a thread; best of several. Throws Error{kDevice} where that much memory is missing.
double measure_read_bandwidth(int num_threads);

// Operations a second (a multiply-add is two) of `num_threads` threads running `loop`, a
// register-only loop of a kernel table; best of several.
double measure_peak(int num_threads, kernels::PeakLoop loop);

// What bounds products of `rows` rows with these weights: the matrix unit where the table uses it
// for them, else the dot products of int8 for quantized weights, else f32 multiply-adds.
struct ProductPeak {
  const char* name;
  kernels::PeakLoop loop;
};
ProductPeak product_peak(const kernels::KernelTable& table, DType weights, int64_t rows);

// Largest resident set of this process so far, in bytes; 0 where the system does not tell.
int64_t peak_rss_bytes();

}  // namespace chatglm
