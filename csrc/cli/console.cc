#include "cli/console.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "cli/interrupt.h"

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <windows.h>
// after windows.h
#include <shellapi.h>
#else
#include <poll.h>
#include <unistd.h>
#endif

namespace chatglm::cli {
namespace {

void drop_last_newline(std::string& text) {
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
}

#ifdef _WIN32
std::string to_utf8(std::wstring_view wide) {
  const int length = static_cast<int>(wide.size());
  const int size =
      WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, nullptr, 0, nullptr, nullptr);
  std::string text(static_cast<std::size_t>(size), '\0');
  WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, text.data(), size, nullptr, nullptr);
  return text;
}
#endif

enum class ReadResult { kBytes, kEnd, kInterrupted };

// Waits for the next bytes of standard input and adds them to `buffer`.
ReadResult read_some(std::string& buffer) {
#ifdef _WIN32
  if (stdin_is_terminal()) {
    wchar_t wide[4096];
    DWORD length = 0;
    SetLastError(0);
    const BOOL done = ReadConsoleW(GetStdHandle(STD_INPUT_HANDLE), wide, 4096, &length, nullptr);
    if (GetLastError() == ERROR_OPERATION_ABORTED) {
      Sleep(50);  // the handler runs in a thread of its own
      return InterruptScope::take() ? ReadResult::kInterrupted : ReadResult::kEnd;
    }
    constexpr wchar_t kControlZ = 26;
    if (!done || length == 0 || wide[0] == kControlZ) return ReadResult::kEnd;
    buffer += to_utf8({wide, length});
    return ReadResult::kBytes;
  }
  char bytes[4096];
  const int count = _read(0, bytes, sizeof bytes);
  if (count <= 0) return ReadResult::kEnd;
  buffer.append(bytes, static_cast<std::size_t>(count));
  return ReadResult::kBytes;
#else
  constexpr int kLookAgainMs = 100;  // a Ctrl-C just before the wait doesn't end it
  for (;;) {
    if (InterruptScope::take()) return ReadResult::kInterrupted;
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    const int ready = poll(&input, 1, kLookAgainMs);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    char bytes[4096];
    const ssize_t count = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count <= 0) return ReadResult::kEnd;
    buffer.append(bytes, static_cast<std::size_t>(count));
    return ReadResult::kBytes;
  }
#endif
}

}  // namespace

void set_up_console() {
#ifdef _WIN32
  SetConsoleOutputCP(CP_UTF8);
  _setmode(_fileno(stdout), _O_BINARY);
  _setmode(_fileno(stdin), _O_BINARY);
#else
  std::signal(SIGPIPE, SIG_IGN);
#endif
}

std::vector<std::string> utf8_arguments(int argc, char** argv) {
#ifdef _WIN32
  (void)argc;
  (void)argv;
  int count = 0;
  wchar_t** const wide = CommandLineToArgvW(GetCommandLineW(), &count);
  std::vector<std::string> arguments;
  for (int i = 1; i < count; ++i) arguments.push_back(to_utf8(wide[i]));
  LocalFree(wide);
  return arguments;
#else
  if (argc < 1) return {};
  return {argv + 1, argv + argc};
#endif
}

std::filesystem::path path_from_utf8(std::string_view text) {
  return std::filesystem::path(std::u8string(text.begin(), text.end()));
}

bool stdin_is_terminal() {
#ifdef _WIN32
  return _isatty(0) != 0;
#else
  return isatty(STDIN_FILENO) != 0;
#endif
}

bool stderr_is_terminal() {
#ifdef _WIN32
  return _isatty(2) != 0;
#else
  return isatty(STDERR_FILENO) != 0;
#endif
}

bool write_answer(std::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return true;
#ifdef _WIN32
  if (errno == EINVAL) return false;  // what a closed pipe gives there
#endif
  if (errno == EPIPE) return false;
  throw Error(ErrorKind::kRuntime,
              "can't write to standard output: " + std::string(std::strerror(errno)));
}

void write_note(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

std::string read_text_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) {
    throw Error(ErrorKind::kRuntime, "can't read this file: " + std::string(std::strerror(errno)),
                path.string());
  }
  drop_last_newline(text);
  return text;
}

std::string read_standard_input() {
  std::string text;
  while (read_some(text) == ReadResult::kBytes) {
  }
  drop_last_newline(text);
  return text;
}

bool LineReader::take_line(std::string& line) {
  const std::size_t newline = buffer_.find('\n');
  if (newline == std::string::npos && (!ended_ || buffer_.empty())) return false;
  line = buffer_.substr(0, newline);
  buffer_.erase(0, newline == std::string::npos ? newline : newline + 1);
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

LineReader::Result LineReader::read(std::string& line) {
  for (;;) {
    if (take_line(line)) return Result::kLine;
    if (ended_) return Result::kEnd;
    const ReadResult result = read_some(buffer_);
    if (result == ReadResult::kInterrupted) return Result::kInterrupted;
    if (result == ReadResult::kEnd) ended_ = true;
  }
}

}  // namespace chatglm::cli
