#include <algorithm>
#include <limits>

#include "io/hdf5_detail.hpp"

namespace selenite::hdf5 {
namespace {

Handle custom_float(std::size_t exponent_bits, std::size_t mantissa_bits) {
  Handle type(HDF5_CHECK(H5Tcopy(H5T_IEEE_F32LE)), H5Tclose);
  HDF5_CHECK(H5Tset_fields(type.get(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits));
  HDF5_CHECK(H5Tset_size(type.get(), 2));
  HDF5_CHECK(H5Tset_ebias(type.get(), (std::size_t{1} << (exponent_bits - 1)) - 1));
  return type;
}

Handle copy(hid_t type) { return {HDF5_CHECK(H5Tcopy(type)), H5Tclose}; }

constexpr std::array all_dtypes{DType::fp64,  DType::fp32,  DType::bf16,   DType::fp16,
                                DType::int64, DType::int32, DType::uint16, DType::uint8};

/// NaN of a float type, zero of an integer.
std::array<std::byte, 8> fill_value(DType dtype) {
  std::array<std::byte, 8> bytes{};
  auto const put = [&](auto value) {
    std::copy_n(reinterpret_cast<std::byte const*>(&value), sizeof value, bytes.data());
  };
  switch (dtype) {
    case DType::fp64:
      put(std::numeric_limits<double>::quiet_NaN());
      break;
    case DType::fp32:
      put(std::numeric_limits<float>::quiet_NaN());
      break;
    case DType::bf16:
      put(std::uint16_t{0x7fc0});
      break;
    case DType::fp16:
      put(std::uint16_t{0x7e00});
      break;
    default:
      break;
  }
  return bytes;
}

Box selected_box(hid_t space) {
  Shape const shape = shape_of_space(space);
  Extents first{}, last{};
  HDF5_CHECK(H5Sget_select_bounds(space, first.data(), last.data()));
  Box box{shape, shape};
  for (int i = 0; i < shape.rank(); ++i) {
    box.begin[i] = static_cast<std::int64_t>(first[static_cast<std::size_t>(i)]);
    box.count[i] =
        static_cast<std::int64_t>(last[static_cast<std::size_t>(i)] - first[static_cast<std::size_t>(i)] + 1);
  }
  validate(HDF5_CHECK(H5Sget_select_npoints(space)) == box.count.count(),
           "A mapping of a virtual dataset is not a box (another program wrote it).");
  return box;
}

/// A text that a library call returns in two calls: its length, then its bytes.
template <class Get>
std::string text_by(Get get) {
  auto const length = HDF5_CHECK(get(nullptr, 0));
  std::string text(static_cast<std::size_t>(length), '\0');
  HDF5_CHECK(get(text.data(), text.size() + 1));
  return text;
}

}  // namespace

Extents to_extents(Shape const& shape) {
  Extents extents{};
  for (int i = 0; i < shape.rank(); ++i) extents[static_cast<std::size_t>(i)] = static_cast<hsize_t>(shape[i]);
  return extents;
}

Handle simple_space(Shape const& shape) {
  return {HDF5_CHECK(H5Screate_simple(shape.rank(), to_extents(shape).data(), nullptr)), H5Sclose};
}

Shape shape_of_space(hid_t space) {
  int const rank = HDF5_CHECK(H5Sget_simple_extent_ndims(space));
  validate(rank >= 1 && rank <= 4, "A dataset has ", rank, " dimensions (the suite knows 1 to 4).");
  Extents extents{};
  HDF5_CHECK(H5Sget_simple_extent_dims(space, extents.data(), nullptr));
  Shape shape = rank == 1 ? Shape{0} : rank == 2 ? Shape{0, 0} : rank == 3 ? Shape{0, 0, 0} : Shape{0, 0, 0, 0};
  std::int64_t room = std::int64_t{1} << 60;  // so that no product of extents overflows
  for (int i = 0; i < rank; ++i) {
    hsize_t const extent = extents[static_cast<std::size_t>(i)];
    validate(extent <= static_cast<hsize_t>(room), "A dataset has the impossible extent ", extent, ".");
    shape[i] = static_cast<std::int64_t>(extent);
    if (extent > 0) room /= shape[i];
  }
  return shape;
}

Handle file_type(DType dtype) {
  switch (dtype) {
    case DType::fp64:
      return copy(H5T_IEEE_F64LE);
    case DType::fp32:
      return copy(H5T_IEEE_F32LE);
    case DType::bf16:
      return custom_float(8, 7);
    case DType::fp16:
      return custom_float(5, 10);
    case DType::int64:
      return copy(H5T_STD_I64LE);
    case DType::int32:
      return copy(H5T_STD_I32LE);
    case DType::uint16:
      return copy(H5T_STD_U16LE);
    case DType::uint8:
      return copy(H5T_STD_U8LE);
    case DType::e4m3:
    case DType::e5m2:
      break;  // made of weights and activations, by scales that change: never stored
  }
  throw Error("There is no HDF5 type for this dtype.");
}

DType dtype_of_type(hid_t type) {
  for (DType const dtype : all_dtypes)
    if (HDF5_CHECK(H5Tequal(type, file_type(dtype).get())) > 0) return dtype;
  throw Error("A dataset has an element type that the suite does not know.");
}

DType Dataset::dtype() const {
  Handle const type(HDF5_CHECK(H5Dget_type(handle_.get())), H5Tclose);
  return dtype_of_type(type.get());
}

Shape Dataset::shape() const {
  Handle const space(HDF5_CHECK(H5Dget_space(handle_.get())), H5Sclose);
  return shape_of_space(space.get());
}

Shape Dataset::chunk() const {
  Handle const list(HDF5_CHECK(H5Dget_create_plist(handle_.get())), H5Pclose);
  validate(HDF5_CHECK(H5Pget_layout(list.get())) == H5D_CHUNKED, "A dataset of a shard has no chunks.");
  Extents extents{};
  int const rank = HDF5_CHECK(H5Pget_chunk(list.get(), 4, extents.data()));
  Shape chunk = shape();
  validate(rank == chunk.rank(), "A dataset's chunks have another rank than the dataset.");
  for (int i = 0; i < rank; ++i) chunk[i] = static_cast<std::int64_t>(extents[static_cast<std::size_t>(i)]);
  return chunk;
}

void Dataset::write_chunk(Shape const& offset, std::span<std::byte const> bytes) {
  HDF5_CHECK(H5Dwrite_chunk(handle_.get(), H5P_DEFAULT, 0, to_extents(offset).data(), bytes.size(), bytes.data()));
}

void Dataset::read_chunk(Shape const& offset, std::span<std::byte> bytes) const {
  hsize_t stored = 0;
  HDF5_CHECK(H5Dget_chunk_storage_size(handle_.get(), to_extents(offset).data(), &stored));
  validate(stored == bytes.size(), "A chunk has ", stored, " bytes instead of ", bytes.size(), ".");
  std::uint32_t filters = 0;
  HDF5_CHECK(H5Dread_chunk(handle_.get(), H5P_DEFAULT, to_extents(offset).data(), &filters, bytes.data()));
}

Dataset File::create_dataset(std::string const& path, DType dtype, Shape const& shape, Shape const& chunk) {
  Handle const list(HDF5_CHECK(H5Pcreate(H5P_DATASET_CREATE)), H5Pclose);
  HDF5_CHECK(H5Pset_chunk(list.get(), chunk.rank(), to_extents(chunk).data()));
  HDF5_CHECK(H5Pset_fill_time(list.get(), H5D_FILL_TIME_NEVER));
  return Dataset({HDF5_CHECK(H5Dcreate2(handle_.get(), path.c_str(), file_type(dtype).get(), simple_space(shape).get(),
                                        H5P_DEFAULT, list.get(), H5P_DEFAULT)),
                  H5Dclose});
}

Dataset File::open_dataset(std::string const& path) const {
  return Dataset({HDF5_CHECK(H5Dopen2(handle_.get(), path.c_str(), H5P_DEFAULT)), H5Dclose});
}

void File::create_virtual(std::string const& path, VirtualDataset const& description) {
  Handle const list(HDF5_CHECK(H5Pcreate(H5P_DATASET_CREATE)), H5Pclose);
  Handle const type = file_type(description.dtype);
  Handle const space = simple_space(description.shape);
  HDF5_CHECK(H5Pset_fill_value(list.get(), type.get(), fill_value(description.dtype).data()));
  for (Mapping const& m : description.mappings) {
    HDF5_CHECK(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, to_extents(m.box.begin).data(), nullptr,
                                   to_extents(m.box.count).data(), nullptr));
    HDF5_CHECK(
        H5Pset_virtual(list.get(), space.get(), m.file.c_str(), m.dataset.c_str(), simple_space(m.box.count).get()));
  }
  HDF5_CHECK(H5Sselect_all(space.get()));
  Handle(HDF5_CHECK(
             H5Dcreate2(handle_.get(), path.c_str(), type.get(), space.get(), H5P_DEFAULT, list.get(), H5P_DEFAULT)),
         H5Dclose);
}

VirtualDataset File::read_virtual(std::string const& path) const {
  Handle const id(HDF5_CHECK(H5Dopen2(handle_.get(), path.c_str(), H5P_DEFAULT)), H5Dclose);
  Handle const list(HDF5_CHECK(H5Dget_create_plist(id.get())), H5Pclose);
  validate(HDF5_CHECK(H5Pget_layout(list.get())) == H5D_VIRTUAL, path, " is not a virtual dataset.");
  Handle const type(HDF5_CHECK(H5Dget_type(id.get())), H5Tclose);
  Handle const space(HDF5_CHECK(H5Dget_space(id.get())), H5Sclose);
  VirtualDataset result{dtype_of_type(type.get()), shape_of_space(space.get()), {}};
  std::size_t count = 0;
  HDF5_CHECK(H5Pget_virtual_count(list.get(), &count));
  for (std::size_t i = 0; i < count; ++i) {
    Handle const target(HDF5_CHECK(H5Pget_virtual_vspace(list.get(), i)), H5Sclose);
    auto const file = [&](char* text, std::size_t size) { return H5Pget_virtual_filename(list.get(), i, text, size); };
    auto const dataset = [&](char* text, std::size_t size) {
      return H5Pget_virtual_dsetname(list.get(), i, text, size);
    };
    result.mappings.push_back({selected_box(target.get()), text_by(file), text_by(dataset)});
    validate(result.mappings.back().box.begin.rank() == result.shape.rank(), path, " has a mapping of another rank.");
  }
  return result;
}

}  // namespace selenite::hdf5
