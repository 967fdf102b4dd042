#pragma once
#include <array>
#include <hdf5.h>

#include "io/hdf5.hpp"

/// For the .cpp files of the wrapper only: the one check of every call, and conversions of types and extents.
namespace selenite::hdf5 {

static_assert(sizeof(hid_t) == sizeof(std::int64_t));

/// Throws Error with the library's message stack in short.
[[noreturn]] void fail(char const* expression, char const* file, int line);

template <class Result>
Result check(Result result, char const* expression, char const* file, int line) {
  if (result < 0) fail(expression, file, line);
  return result;
}
#define HDF5_CHECK(call) ::selenite::hdf5::check((call), #call, __FILE__, __LINE__)

using Extents = std::array<hsize_t, 4>;
Extents to_extents(Shape const& shape);
Handle simple_space(Shape const& shape);
/// The extents of a dataspace; throws if it has none or more than four.
Shape shape_of_space(hid_t space);
/// The type in the file. bf16 is a custom float: h5dump prints it, h5py reads it as float32.
Handle file_type(DType dtype);
DType dtype_of_type(hid_t type);

}  // namespace selenite::hdf5
