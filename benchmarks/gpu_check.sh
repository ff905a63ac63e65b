#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in about ten minutes: builds with CUDA for the GPU that is here,
# runs the tests of kernels and backend on it, then times decode and prefill of the true 6B shape
# beside what the GPU can do, and beside transformers where torch is installed; last the tests of the
# kernels once more under compute-sanitizer. One table comes at the end; everything that was said lies
# in a folder.
#
#   benchmarks/gpu_check.sh RESULTS [--quick] [--device N] [--minutes N] [--build FOLDER]
#                           [--googletest FOLDER]
#
# --quick leaves out compute-sanitizer and transformers. --minutes (10): what has not begun by then is
# left out, what is not done is ended, and the table is written. --build (RESULTS/build): where to
# build; a second run builds only what has changed. --googletest: GoogleTest's sources, where it is
# not installed. Exit code: 0 all is well, 1 something failed, was left out for want of time, or there
# is no GPU, 2 wrong usage.
set -euo pipefail

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

results=""
quick=0
device=0
minutes=10
build=""
googletest=""
while (($#)); do
  case "$1" in
    -h | --help)
      usage
      exit 0
      ;;
    --quick) quick=1 ;;
    --device | --minutes)
      if [[ ! "${2:-}" =~ ^[0-9]{1,4}$ ]]; then
        echo "gpu_check: $1 takes a number, found '${2:-}'" >&2
        exit 2
      fi
      if [[ "$1" == --device ]]; then device="$2"; else minutes="$2"; fi
      shift
      ;;
    --build | --googletest)
      if [[ -z "${2:-}" ]]; then
        echo "gpu_check: $1 takes a folder" >&2
        exit 2
      fi
      if [[ "$1" == --build ]]; then build="$2"; else googletest="$2"; fi
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
# The toolkit's own folder and that of Python's programs (pip's cmake and ninja) need not be on the path.
PATH="$PATH:${CUDA_HOME:-/usr/local/cuda}/bin"
PATH="$PATH:$(python3 -c 'import sysconfig; print(sysconfig.get_path("scripts"))' 2>/dev/null || true)"
for tool in nvcc cmake c++ python3; do
  if ! command -v "$tool" >/dev/null; then
    echo "gpu_check: $tool is not installed" >&2
    exit 1
  fi
done

mkdir -p "$results" "${build:=$results/build}"
results="$(cd "$results" && pwd)"
build="$(cd "$build" && pwd)"
if [[ -n "$googletest" ]]; then googletest="$(cd "$googletest" && pwd)"; fi
cd "$(dirname "$0")/.."
readonly log="$results/log.txt"
readonly deadline=$((60 * minutes - 20))  # the table takes a moment
export CUDA_DEVICE_ORDER=PCI_BUS_ID       # as nvidia-smi counts
export CUDA_VISIBLE_DEVICES="$device"     # from here on it is cuda:0
: >"$log"
# What a run before left is not this one's.
rm -f "$results"/{decode,prefill}-*.json "$results/transformers.json"

say() { echo "$*" | tee -a "$log"; }

failed=()
# stage NAME SECONDS COMMAND...: runs it with its output in the folder; goes on where it fails.
stage() {
  local name="$1" seconds="$2" begin=$SECONDS status=0
  shift 2
  if ((seconds > deadline - SECONDS)); then seconds=$((deadline - SECONDS)); fi
  if ((seconds < 5)); then
    failed+=("$name")
    say "$name: left out, the time is up"
    return 1
  fi
  timeout --kill-after=10 "$seconds" "$@" >"$results/$name.txt" 2>&1 || status=$?
  if ((status == 0)); then
    say "$name: ok, $((SECONDS - begin)) s"
  else
    failed+=("$name")
    if ((status == 124 || status == 137)); then
      say "$name: NOT DONE after $seconds s: $results/$name.txt"
    else
      say "$name: FAILED (exit code $status): $results/$name.txt"
    fi
    tail -n 15 "$results/$name.txt" | sed 's/^/    /' | tee -a "$log"
  fi
  return "$status"
}

say "$gpu"
architecture="$(cut -d, -f2 <<<"$gpu" | tr -d ' .')"
{
  date --utc
  git rev-parse HEAD 2>/dev/null || true
  nvcc --version
  nvidia-smi --id="$device" --query
} >"$results/machine.txt" 2>&1

# configure_and_build TESTS TARGET...
configure_and_build() {
  local options=(-DCMAKE_BUILD_TYPE=Release -DCHATGLM_CUDA=ON -DCHATGLM_BUILD_TESTS="$1"
    -DCMAKE_CUDA_COMPILER="$(command -v nvcc)" -DCMAKE_CUDA_ARCHITECTURES="$architecture-real")
  if [[ -n "$googletest" ]]; then options+=(-DCHATGLM_GTEST_SOURCE="$googletest"); fi
  if [[ ! -f "$build/CMakeCache.txt" ]] && command -v ninja >/dev/null; then options+=(-G Ninja); fi
  shift
  cmake -S . -B "$build" "${options[@]}" &&
    cmake --build "$build" --parallel "$(nproc)" --target "$@"
}
readonly tests="$build/tests/cpp/cuda_device_test"
# run_suite SUITE [TOOL]: in a process of its own, because a kernel that faults takes the process's
# GPU with it, and one that hangs all that comes behind. TOOL: of compute-sanitizer.
run_suite() {
  local command=("$tests" --gtest_brief=1 "--gtest_filter=$1.*") status=0
  local file="$results/${2:-tests}/${1//\//-}.txt"
  if [[ -n "${2:-}" ]]; then
    command=(compute-sanitizer --tool "$2" --error-exitcode 3 "${command[@]}")
  fi
  timeout --kill-after=10 "$suite_seconds" "${command[@]}" >"$file" 2>&1 || status=$?
  if ((status == 0)); then return; fi
  echo "$1: exit code $status: $file"
  tail -n 5 "$file" | sed 's/^/    /'
  return 1
}
# run_suites [TOOL]: a few at a time, the host's part of them takes most of the time. Under a tool
# only the kernels' own: small shapes, and each kernel with every form of its arguments.
run_suites() {
  local leave_out='^$'
  if [[ -n "${1:-}" ]]; then leave_out='^Cuda(BackendTest|Refusals|Engine|Loading|Model|Placement|Golden)$'; fi
  mkdir -p "$results/${1:-tests}"
  "$tests" --gtest_list_tests | sed -n 's|^\([A-Za-z0-9_/]*\)\..*|\1|p' |
    grep -vE "$leave_out" >"$results/suites.txt" &&
    xargs -P 6 -I '{}' bash -c "run_suite '{}' ${1:-}" <"$results/suites.txt"
}
export -f configure_and_build run_suite run_suites
export build architecture googletest tests results suite_seconds=100

has_tests=1
if ! stage build 400 bash -c 'configure_and_build ON cuda_device_test chatglm-bench'; then
  grep -q 'The C++ tests need GoogleTest' "$results/build.txt" || exit 1
  say "tests, memcheck, racecheck: left out, GoogleTest is not installed (see --googletest)"
  has_tests=0
  stage build_without_tests 400 bash -c 'configure_and_build OFF chatglm-bench' || exit 1
fi

if ((has_tests)); then stage tests 150 bash -c run_suites || true; fi
stage bench 240 python3 benchmarks/gpu_report.py measure --bench "$build/csrc/bench/chatglm-bench" \
  --results "$results" || true

if ((!quick)); then
  if python3 -c 'import torch, transformers
assert torch.cuda.is_available() and hasattr(transformers, "GlmForCausalLM")' 2>/dev/null; then
    stage transformers 120 python3 benchmarks/gpu_peer.py --output "$results/transformers.json" || true
  else
    say "transformers: left out, torch with CUDA and transformers with GlmForCausalLM are not installed"
  fi
  if ! command -v compute-sanitizer >/dev/null; then
    say "memcheck, racecheck: left out, compute-sanitizer is not installed"
  elif ((has_tests)); then
    stage memcheck 150 bash -c 'run_suites memcheck' || true
    stage racecheck 150 bash -c 'run_suites racecheck' || true
  fi
fi

echo
python3 benchmarks/gpu_report.py table --results "$results" | tee "$results/table.md" || failed+=(table)
if ((${#failed[@]})); then
  echo
  echo "failed: ${failed[*]}"
  exit 1
fi
