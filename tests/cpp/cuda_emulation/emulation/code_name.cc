// Names places in the program by asking addr2line, where it is installed. Only reports need them.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>

#include "emulation/races.h"

namespace cuda_emulation {
namespace {

std::string first_lines(const std::string& command, int count) {
  std::string text;
  if (FILE* pipe = popen(command.c_str(), "r")) {
    for (int next = std::fgetc(pipe); next != EOF; next = std::fgetc(pipe)) {
      if (next != '\n') {
        text += static_cast<char>(next);
      } else if (--count > 0) {
        text += " (";
      } else if (count == 0) {
        text += ")";
      }
      if (count <= 0) break;
    }
    pclose(pipe);
  }
  return text;
}

std::string describe(const void* code) {
  Dl_info info{};
  if (dladdr(code, &info) == 0) return "code that is not known";
  // A call lies before the address it returns to.
  const auto offset = static_cast<const char*>(code) - static_cast<const char*>(info.dli_fbase) - 1;
  char command[512];
  std::snprintf(command, sizeof(command), "addr2line -C -f -s -e /proc/%d/exe 0x%llx 2>/dev/null",
                static_cast<int>(getpid()), static_cast<unsigned long long>(offset));
  const std::string named = first_lines(command, 2);
  if (!named.empty() && named[0] != '?') return named;
  std::snprintf(command, sizeof(command), "the code at offset 0x%llx",
                static_cast<unsigned long long>(offset));
  return command;
}

}  // namespace

const char* name_of_code(const void* code) {
  static std::map<const void*, std::string> names;
  std::string& name = names[code];
  if (name.empty()) name = describe(code);
  return name.c_str();
}

}  // namespace cuda_emulation
