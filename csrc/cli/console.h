// Standard input, output and error as UTF-8 on every system.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace chatglm::cli {

// Once at the start: UTF-8 on Windows; a reader that went away becomes a failed write instead of a
// signal.
void set_up_console();
// The command line without the program's name, as UTF-8.
std::vector<std::string> utf8_arguments(int argc, char** argv);
std::filesystem::path path_from_utf8(std::string_view text);

bool stdin_is_terminal();
bool stderr_is_terminal();

// Writes and flushes. False: the reader has gone away. Throws Error{kRuntime} for other failures.
bool write_answer(std::string_view text);
void write_note(std::string_view text);  // to standard error; failures are ignored

// Throws Error{kRuntime} where the file can't be read. One newline at the end is dropped.
std::string read_text_file(const std::filesystem::path& path);
std::string read_standard_input();

// Lines of standard input.
class LineReader {
 public:
  enum class Result { kLine, kEnd, kInterrupted };
  // Needs an InterruptScope. The newline is dropped.
  Result read(std::string& line);

 private:
  bool take_line(std::string& line);
  std::string buffer_;  // bytes read, not yet given out
  bool ended_ = false;
};

}  // namespace chatglm::cli
