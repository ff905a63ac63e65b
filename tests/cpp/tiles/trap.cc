// Runs the machine code of AMX's tile instructions on a CPU without them: each raises SIGILL, whose
// handler decodes it, does on a TileFile what it says, and steps over it. A program is linked with
// this file and has it; on a CPU with AMX it only asks for leave to use the tiles.
#include <ucontext.h>
#include <csignal>

#include "kernels/cpu/features.h"
#include "tile_file.h"

namespace chatglm::test {
namespace {

constexpr int kRegisters[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};

// An instruction with a VEX prefix of three bytes, an opcode and a ModRM byte.
class Instruction {
 public:
  explicit Instruction(const ucontext_t& context)
      : context_(context), code_(reinterpret_cast<const uint8_t*>(value(REG_RIP))), next_(code_) {
    if (*next_++ != 0xC4) return;
    const uint8_t extensions = *next_++, operands = *next_++;
    index_high_ = (extensions & 0x40) != 0 ? 0 : 8;
    base_high_ = (extensions & 0x20) != 0 ? 0 : 8;
    // Map 0F38, no operand above 7 but in addresses, 128 bits, W 0.
    known_ = (extensions & 0x9F) == 0x82 && (operands & 0x84) == 0;
    prefix = operands & 3;
    third = ~operands >> 3 & 15;
    opcode = *next_++;
    modrm_ = *next_++;
    reg = modrm_ >> 3 & 7;
    rm = modrm_ & 7;
    memory = modrm_ >> 6 != 3;
    if (memory) find_address();
  }

  bool is(int wanted_opcode, int wanted_prefix, bool of_memory) const {
    return known_ && opcode == wanted_opcode && prefix == wanted_prefix && memory == of_memory;
  }
  std::byte* address() const { return reinterpret_cast<std::byte*>(base_ + index_); }
  std::byte* rows() const { return reinterpret_cast<std::byte*>(base_); }
  int64_t stride() const { return static_cast<int64_t>(index_); }
  const uint8_t* code() const { return code_; }
  const uint8_t* next() const { return next_; }

  int prefix = 0;  // 0 none, 1 66, 2 F3, 3 F2
  int opcode = 0;
  int reg = 0, rm = 0, third = 0;  // the register operands
  bool memory = false;
  bool has_index_byte = false;

 private:
  uint64_t value(int at) const { return static_cast<uint64_t>(context_.uc_mcontext.gregs[at]); }

  void find_address() {
    const int mod = modrm_ >> 6;
    int base = rm;
    if (rm == 4) {
      has_index_byte = true;
      const uint8_t sib = *next_++;
      base = sib & 7;
      const int index = (sib >> 3 & 7) + index_high_;
      if (index != 4) index_ = value(kRegisters[index]) << (sib >> 6);
    }
    const bool no_base = mod == 0 && base == 5;  // without an index: relative to what follows
    if (!no_base) base_ = value(kRegisters[base + base_high_]);
    if (mod == 1) {
      base_ += static_cast<uint64_t>(int64_t{static_cast<int8_t>(*next_++)});
    } else if (mod == 2 || no_base) {
      int32_t displacement;
      std::memcpy(&displacement, next_, sizeof(displacement));
      next_ += sizeof(displacement);
      base_ += static_cast<uint64_t>(int64_t{displacement});
      if (no_base && !has_index_byte) base_ += reinterpret_cast<uint64_t>(next_);
    }
  }

  const ucontext_t& context_;
  const uint8_t* const code_;
  const uint8_t* next_;
  bool known_ = false;
  uint8_t modrm_ = 0;
  int index_high_ = 0, base_high_ = 0;
  uint64_t base_ = 0, index_ = 0;
};

bool execute(const Instruction& code) {
  enum { kNone = 0, kF3 = 2, kF2 = 3 };
  TileFile& tiles = TileFile::of_this_thread();
  if (code.is(0x5C, kF3, false)) {  // tdpbf16ps
    TileFile::check(code.third < 8, "a tile above 7", code.third);
    tiles.multiply_bf16(code.reg, code.rm, code.third);
    return true;
  }
  if (code.is(0x5E, kF2, false)) {  // tdpbssd
    TileFile::check(code.third < 8, "a tile above 7", code.third);
    tiles.multiply_int8(code.reg, code.rm, code.third);
    return true;
  }
  if (code.third != 0) return false;
  if (code.is(0x49, kNone, true) && code.reg == 0) {  // ldtilecfg
    tiles.configure(code.address());
  } else if (code.is(0x49, kNone, false) && code.reg == 0 && code.rm == 0) {  // tilerelease
    tiles.release();
  } else if (code.is(0x49, kF2, false) && code.rm == 0) {  // tilezero
    tiles.zero(code.reg);
  } else if (code.is(0x4B, kF2, true) && code.has_index_byte) {  // tileloadd
    tiles.load(code.reg, code.rows(), code.stride());
  } else if (code.is(0x4B, kF3, true) && code.has_index_byte) {  // tilestored
    tiles.store(code.reg, code.rows(), code.stride());
  } else {
    return false;
  }
  return true;
}

void on_illegal_instruction(int, siginfo_t*, void* context) {
  auto& state = *static_cast<ucontext_t*>(context);
  const Instruction code(state);
  if (!execute(code)) {
    std::fprintf(stderr, "an illegal instruction that is none of AMX's:");
    for (int i = 0; i < 8; ++i) std::fprintf(stderr, " %02x", code.code()[i]);
    std::fprintf(stderr, "\n");
    std::abort();
  }
  state.uc_mcontext.gregs[REG_RIP] =
      static_cast<greg_t>(reinterpret_cast<std::uintptr_t>(code.next()));
}

const bool kInstalled = [] {
  if (kernels::cpu_has_amx()) return false;
  struct sigaction action{};
  action.sa_sigaction = on_illegal_instruction;
  action.sa_flags = SA_SIGINFO;
  return sigaction(SIGILL, &action, nullptr) == 0;
}();

}  // namespace
}  // namespace chatglm::test
