// What tests set and ask of the emulated machine.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace cuda_emulation {

struct DeviceSpec {
  std::size_t memory_bytes = std::size_t{256} << 20;
  int multiprocessors = 4;
  int major = 9;
  int minor = 0;
  bool wrong_wgmma =
      false;                // takes the rows in shared memory for lying plainly one after the other
  bool old_driver = false;  // knows no tensor maps
  const char* missing_code =
      "";  // kernels that have this in their names can't be launched; "": none
};
// What a block may have on that architecture.
std::size_t shared_bytes_per_block(const DeviceSpec& device);

// Replaces the devices (one DeviceSpec{} at the start). Nothing may be allocated then.
void set_devices(std::vector<DeviceSpec> devices);

// The driver's version of CUDA, 13000 at the start; 0: there is none.
void set_driver(int version);

// What was made and not given back, over all devices.
struct Counts {
  std::size_t device_allocations = 0;
  std::size_t device_bytes = 0;
  std::size_t host_allocations = 0;
  std::size_t streams = 0;
  std::size_t events = 0;
  std::size_t graphs = 0;  // cudaGraph_t and cudaGraphExec_t
  bool operator==(const Counts&) const = default;
};
Counts live_counts();

// What kernels did that no kernel may do, since the last call. After it the devices work again.
std::vector<std::string> take_reports();

// The one whose kernel runs.
const DeviceSpec& running_device();

// How many kernels ran and graphs were launched since the process began.
std::size_t kernels_run();
std::size_t graphs_launched();

}  // namespace cuda_emulation
