#include "chat/python_writer.h"

#include "chat/text_util.h"

namespace chatglm {
namespace {

// repr() of a str, except that characters outside ASCII are always written as they are.
void write_string(std::string_view text, std::string& out) {
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out += quote;
  for (const char c : text) {
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += "\\x";
      out += kHexDigits[static_cast<size_t>(c) >> 4];
      out += kHexDigits[static_cast<size_t>(c) & 15];
    } else {
      out += c;
    }
  }
  out += quote;
}

void write(const Value& value, std::string& out);

void write_dict(const Object& members, std::string& out) {
  out += '{';
  for (size_t i = 0; i < members.size(); ++i) {
    if (i != 0) out += ", ";
    write_string(members[i].name, out);
    out += ": ";
    write(members[i].value, out);
  }
  out += '}';
}

struct Writer {
  std::string& out;

  void operator()(std::nullptr_t) const { out += "None"; }
  void operator()(bool value) const { out += value ? "True" : "False"; }
  void operator()(const Number& value) const { out += value.text; }
  void operator()(const std::string& value) const { write_string(value, out); }
  void operator()(const std::vector<Value>& items) const {
    out += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i != 0) out += ", ";
      write(items[i], out);
    }
    out += ']';
  }
  void operator()(const Object& members) const { write_dict(members, out); }
};

void write(const Value& value, std::string& out) {
  std::visit(Writer{out}, value.data);
}

}  // namespace

std::string to_python_call(std::string_view function, const Object& arguments) {
  std::string out(function);
  out += '(';
  for (const Member& argument : arguments) {
    if (&argument != &arguments.front()) out += ", ";
    if (is_plain_name(argument.name)) {
      out += argument.name;
      out += '=';
      write(argument.value, out);
    } else {
      out += "**";
      write_dict({argument}, out);
    }
  }
  out += ')';
  return out;
}

}  // namespace chatglm
