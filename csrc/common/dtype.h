// Element types that cross the Python border, by the names torch gives them.
#pragma once

#include <stdexcept>
#include <string>

namespace refkp {

enum class DType { uint8, float16, bfloat16, float32, float64 };

inline DType dtype_from_name(const std::string& name) {
  if (name == "uint8") return DType::uint8;
  if (name == "float16") return DType::float16;
  if (name == "bfloat16") return DType::bfloat16;
  if (name == "float32") return DType::float32;
  if (name == "float64") return DType::float64;
  throw std::invalid_argument("refkp._C: unknown dtype name " + name + ".");
}

}  // namespace refkp
