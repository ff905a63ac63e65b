// The one place where chatglm::Error becomes a Python exception. The classes are defined in
// chatglm_cpp/exceptions.py, because some of them also are a ValueError.
#include "base/error.h"
#include "bind/register.h"

namespace chatglm::bind {
namespace {

const char* python_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return "InvalidArgumentError";
    case ErrorKind::kModelFile:
      return "ModelFileError";
    case ErrorKind::kUnsupportedModel:
      return "UnsupportedModelError";
    case ErrorKind::kContextLength:
      return "ContextLengthError";
    case ErrorKind::kDevice:
      return "DeviceError";
    case ErrorKind::kConversion:
      return "ConversionError";
    case ErrorKind::kRuntime:
      break;
  }
  return "ChatGLMError";
}

// Text from a file may hold bytes that are not UTF-8; a message must not fail over them.
pybind11::str lenient_text(const std::string& text) {
  PyObject* decoded =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (decoded == nullptr) throw pybind11::error_already_set();
  return pybind11::reinterpret_steal<pybind11::str>(decoded);
}

}  // namespace

void register_errors(pybind11::module_&) {
  pybind11::register_local_exception_translator([](std::exception_ptr exception) {
    try {
      if (exception) std::rethrow_exception(exception);
    } catch (const Error& error) {
      const pybind11::object type =
          pybind11::module_::import("chatglm_cpp.exceptions").attr(python_class(error.kind()));
      PyErr_SetObject(type.ptr(), lenient_text(error.what()).ptr());
    }
  });
}

}  // namespace chatglm::bind
