#include "chat/number_text.h"

#include <cstdint>
#include <locale>
#include <sstream>
#include <vector>

#include "chat/scanner.h"

namespace chatglm {
namespace {

// iostreams with the classic locale: a program that uses us may have set another one.
std::optional<double> parse_double(const std::string& text) {
  std::istringstream in(text);
  in.imbue(std::locale::classic());
  double value = 0;
  in >> value;
  if (in.fail() || !in.eof()) return std::nullopt;  // fails on overflow
  return value;
}

std::string scientific(double value, int digits) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out << std::scientific;
  out.precision(digits - 1);
  out << value;
  return out.str();
}

}  // namespace

std::optional<std::string> radix_to_decimal(std::string_view digits, int base) {
  if (digits.size() > kMaxRadixDigits) return std::nullopt;
  constexpr uint64_t kLimb = 1'000'000'000;
  std::vector<uint32_t> limbs = {0};  // base 10^9, least significant first
  for (const char c : digits) {
    auto carry = static_cast<uint64_t>(hex_digit(c));
    for (uint32_t& limb : limbs) {
      const uint64_t value = uint64_t{limb} * static_cast<uint64_t>(base) + carry;
      limb = static_cast<uint32_t>(value % kLimb);
      carry = value / kLimb;
    }
    if (carry != 0) limbs.push_back(static_cast<uint32_t>(carry));
  }
  std::string out = std::to_string(limbs.back());
  for (size_t i = limbs.size() - 1; i-- > 0;) {
    const std::string part = std::to_string(limbs[i]);
    out += std::string(9 - part.size(), '0') + part;
  }
  return out;
}

std::optional<std::string> float_repr(std::string_view text) {
  const std::optional<double> value = parse_double(std::string(text));
  if (!value) return std::nullopt;
  if (*value == 0) return "0.0";
  // The shortest digits that read back as the same value; 17 always do.
  std::string shortest;
  for (int digits = 1; digits <= 17; ++digits) {
    shortest = scientific(*value, digits);
    if (parse_double(shortest) == value) break;
  }
  const size_t e = shortest.find('e');
  const int exponent = std::stoi(shortest.substr(e + 1));
  std::string digits = shortest.substr(0, 1);
  if (e > 2) digits += shortest.substr(2, e - 2);
  const auto count = static_cast<int>(digits.size());

  // repr() switches to an exponent below 1e-4 and from 1e16.
  if (exponent < -4 || exponent >= 16) {
    std::string out = digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    const std::string power = std::to_string(exponent < 0 ? -exponent : exponent);
    return out + (exponent < 0 ? "e-" : "e+") + (power.size() < 2 ? "0" : "") + power;
  }
  if (exponent < 0) return "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) {
    return digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  }
  const auto point = static_cast<size_t>(exponent) + 1;
  return digits.substr(0, point) + "." + digits.substr(point);
}

}  // namespace chatglm
