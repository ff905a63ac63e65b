// The one exception type of the library. It is mapped once to a Python class (csrc/bind) and once
// to an exit code (csrc/cli); nothing below those two knows of either.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace chatglm {

enum class ErrorKind {
  kInvalidArgument,   // a caller's value is out of range or of the wrong kind
  kModelFile,         // a file is damaged, truncated, hostile or not a model
  kUnsupportedModel,  // a whole and valid file of something we do not run
  kContextLength,     // a prompt that does not fit
  kDevice,            // memory or device exhausted or missing
  kConversion,        // a checkpoint that can't be converted
  kRuntime,           // everything else that went wrong while running (NaN logits, I/O)
};

// `message` says what was expected and what was found, `where` names the file, tensor or key
// (may be empty). what() is "where: message".
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string message, std::string where = {})
      : std::runtime_error(where.empty() ? message : where + ": " + message),
        kind_(kind),
        message_(std::move(message)),
        where_(std::move(where)) {}

  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const std::string& where() const { return where_; }

 private:
  ErrorKind kind_;
  std::string message_;
  std::string where_;
};

}  // namespace chatglm
