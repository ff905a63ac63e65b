#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in about ten minutes: builds with CUDA for the GPU that is here,
# runs the tests of kernels and backend on it (again under compute-sanitizer where that is installed),
# then times decode and prefill of the true 6B shape beside what the GPU can do, and beside
# transformers where torch is installed. One table comes last; everything that was said lies in a
# folder.
#
#   benchmarks/gpu_check.sh RESULTS [--quick] [--device N]
#
# --quick leaves out compute-sanitizer and transformers. Exit code: 0 all is well, 1 something failed
# or there is no GPU, 2 wrong usage.
set -euo pipefail

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

results=""
quick=0
device=0
while (($#)); do
  case "$1" in
    -h | --help)
      usage
      exit 0
      ;;
    --quick) quick=1 ;;
    --device)
      if [[ ! "${2:-}" =~ ^[0-9]+$ ]]; then
        echo "gpu_check: --device takes a number, found '${2:-}'" >&2
        exit 2
      fi
      device="$2"
      shift
      ;;
    -*)
      echo "gpu_check: unknown option '$1'; try --help" >&2
      exit 2
      ;;
    *)
      if [[ -n "$results" ]]; then
        echo "gpu_check: expected one folder, found '$results' and '$1'" >&2
        exit 2
      fi
      results="$1"
      ;;
  esac
  shift
done
if [[ -z "$results" ]]; then
  echo "gpu_check: expected a folder for the results; try --help" >&2
  exit 2
fi

if ! command -v nvidia-smi >/dev/null ||
  ! gpu="$(nvidia-smi --id="$device" --query-gpu=name,compute_cap,memory.total,driver_version \
    --format=csv,noheader 2>/dev/null)"; then
  echo "gpu_check: there is no NVIDIA GPU $device here (nvidia-smi finds none)" >&2
  exit 1
fi
for tool in nvcc cmake ninja python3; do
  if ! command -v "$tool" >/dev/null; then
    echo "gpu_check: $tool is not installed" >&2
    exit 1
  fi
done

mkdir -p "$results"
results="$(cd "$results" && pwd)"
cd "$(dirname "$0")/.."
readonly build="$results/build"
readonly log="$results/log.txt"
export CUDA_VISIBLE_DEVICES="$device"  # from here on it is cuda:0
: >"$log"

failed=()
# stage NAME SECONDS COMMAND...: runs it with its output in the folder; goes on where it fails.
stage() {
  local name="$1" seconds="$2" begin=$SECONDS status=0
  shift 2
  timeout --kill-after=10 "$seconds" "$@" >"$results/$name.txt" 2>&1 || status=$?
  if ((status == 0)); then
    echo "$name: ok, $((SECONDS - begin)) s" | tee -a "$log"
  else
    failed+=("$name")
    echo "$name: FAILED (exit code $status$( ((status == 124)) && echo ', out of time')):" \
      "$results/$name.txt" | tee -a "$log"
    tail -n 15 "$results/$name.txt" | sed 's/^/    /' | tee -a "$log"
  fi
  return "$status"
}

echo "$gpu" | tee -a "$log"
architecture="$(cut -d, -f2 <<<"$gpu" | tr -d ' .')"
{
  date --utc
  git rev-parse HEAD 2>/dev/null || true
  nvcc --version
  nvidia-smi --id="$device" --query
} >"$results/machine.txt" 2>&1

configure_and_build() {
  cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DCHATGLM_CUDA=ON \
    -DCHATGLM_BUILD_TESTS=ON -DCMAKE_CUDA_ARCHITECTURES="$architecture-real" &&
    cmake --build "$build" --target cuda_device_test chatglm-bench
}
export -f configure_and_build
export build architecture
stage build 300 bash -c configure_and_build || exit 1

readonly tests="$build/tests/cpp/cuda_device_test"
stage tests 150 "$tests" --gtest_brief=1 || true

if ((!quick)); then
  if command -v compute-sanitizer >/dev/null; then
    # The kernels' own tests: small shapes, and each kernel with every form of its arguments.
    readonly kernel_tests='-CudaBackendTest.*:CudaRefusals.*:CudaEngine.*:CudaLoading.*:CudaModel.*:CudaPlacement.*'
    stage memcheck 75 compute-sanitizer --tool memcheck --error-exitcode 3 \
      "$tests" --gtest_brief=1 --gtest_filter="$kernel_tests" || true
    stage racecheck 75 compute-sanitizer --tool racecheck --error-exitcode 3 \
      "$tests" --gtest_brief=1 --gtest_filter="$kernel_tests" || true
  else
    echo "memcheck, racecheck: left out, compute-sanitizer is not installed" | tee -a "$log"
  fi
  if python3 -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
    stage transformers 120 python3 benchmarks/gpu_peer.py --output "$results/transformers.json" || true
  else
    echo "transformers: left out, torch with CUDA and transformers are not installed" | tee -a "$log"
  fi
fi

stage bench 240 python3 benchmarks/gpu_report.py measure --bench "$build/csrc/bench/chatglm-bench" \
  --results "$results" || true

echo
python3 benchmarks/gpu_report.py table --results "$results" | tee "$results/table.md" || failed+=(table)
if ((${#failed[@]})); then
  echo
  echo "failed: ${failed[*]}"
  exit 1
fi
