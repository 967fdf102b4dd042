#include <algorithm>

#include "io/hdf5_detail.hpp"

// Small things: attributes, texts and tables of integers. Texts have a fixed length, since HDF5 keeps those of variable
// length where no checksum covers them.
namespace selenite::hdf5 {
namespace {

constexpr std::size_t largest_text = std::size_t{64} << 20;  // a sane bound for what a damaged file may claim

Handle text_type(std::size_t length) {
  Handle type(HDF5_CHECK(H5Tcopy(H5T_C_S1)), H5Tclose);
  HDF5_CHECK(H5Tset_size(type.get(), std::max<std::size_t>(length, 1)));
  HDF5_CHECK(H5Tset_strpad(type.get(), H5T_STR_NULLPAD));
  HDF5_CHECK(H5Tset_cset(type.get(), H5T_CSET_UTF8));
  return type;
}

Handle scalar_space() { return {HDF5_CHECK(H5Screate(H5S_SCALAR)), H5Sclose}; }

/// Room for the text of this type; throws if it is no text of fixed length.
std::string room_for(hid_t type) {
  validate(HDF5_CHECK(H5Tget_class(type)) == H5T_STRING && HDF5_CHECK(H5Tis_variable_str(type)) == 0,
           "A value is not a text of fixed length.");
  std::size_t const size = H5Tget_size(type);
  validate(size > 0 && size <= largest_text, "A text has the impossible length ", size, ".");
  return std::string(size, '\0');
}

void expect_one(hid_t space) {
  validate(HDF5_CHECK(H5Sget_simple_extent_npoints(space)) == 1, "A value has several elements instead of one.");
}

std::string strip_padding(std::string text) {
  text.erase(text.find_last_not_of('\0') + 1);
  return text;
}

Handle open_attribute(hid_t file, std::string const& path, std::string const& name) {
  return {HDF5_CHECK(H5Aopen_by_name(file, path.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT)), H5Aclose};
}

Handle create_attribute(hid_t file, std::string const& path, std::string const& name, hid_t type) {
  return {HDF5_CHECK(H5Acreate_by_name(file, path.c_str(), name.c_str(), type, scalar_space().get(), H5P_DEFAULT,
                                       H5P_DEFAULT, H5P_DEFAULT)),
          H5Aclose};
}

}  // namespace

void File::write_integers(std::string const& path, std::span<std::uint64_t const> values) {
  Handle const set(HDF5_CHECK(H5Dcreate2(handle_.get(), path.c_str(), H5T_STD_U64LE,
                                         simple_space({static_cast<std::int64_t>(values.size())}).get(), H5P_DEFAULT,
                                         H5P_DEFAULT, H5P_DEFAULT)),
                   H5Dclose);
  HDF5_CHECK(H5Dwrite(set.get(), H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()));
}

std::vector<std::uint64_t> File::read_integers(std::string const& path) const {
  Handle const set(HDF5_CHECK(H5Dopen2(handle_.get(), path.c_str(), H5P_DEFAULT)), H5Dclose);
  Handle const type(HDF5_CHECK(H5Dget_type(set.get())), H5Tclose);
  Handle const space(HDF5_CHECK(H5Dget_space(set.get())), H5Sclose);
  validate(HDF5_CHECK(H5Tequal(type.get(), H5T_STD_U64LE)) > 0, path, " does not hold unsigned 64-bit integers.");
  Shape const shape = shape_of_space(space.get());
  validate(shape.rank() == 1 && shape[0] <= (1 << 24), path, " has an impossible size.");
  std::vector<std::uint64_t> values(static_cast<std::size_t>(shape[0]));
  HDF5_CHECK(H5Dread(set.get(), H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()));
  return values;
}

void File::write_text(std::string const& path, std::string_view text) {
  Handle const type = text_type(text.size());
  Handle const set(HDF5_CHECK(H5Dcreate2(handle_.get(), path.c_str(), type.get(), scalar_space().get(), H5P_DEFAULT,
                                         H5P_DEFAULT, H5P_DEFAULT)),
                   H5Dclose);
  std::string const copy(text);  // at least one byte, for an empty text
  HDF5_CHECK(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, copy.c_str()));
}

std::string File::read_text(std::string const& path) const {
  Handle const set(HDF5_CHECK(H5Dopen2(handle_.get(), path.c_str(), H5P_DEFAULT)), H5Dclose);
  Handle const type(HDF5_CHECK(H5Dget_type(set.get())), H5Tclose);
  Handle const space(HDF5_CHECK(H5Dget_space(set.get())), H5Sclose);
  expect_one(space.get());
  std::string text = room_for(type.get());
  HDF5_CHECK(H5Dread(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()));
  return strip_padding(std::move(text));
}

void File::write_attribute(std::string const& path, std::string const& name, std::int64_t value) {
  Handle const attribute = create_attribute(handle_.get(), path, name, H5T_STD_I64LE);
  HDF5_CHECK(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value));
}

void File::write_attribute(std::string const& path, std::string const& name, std::string_view text) {
  Handle const type = text_type(text.size());
  Handle const attribute = create_attribute(handle_.get(), path, name, type.get());
  std::string const copy(text);
  HDF5_CHECK(H5Awrite(attribute.get(), type.get(), copy.c_str()));
}

std::int64_t File::integer_attribute(std::string const& path, std::string const& name) const {
  Handle const attribute = open_attribute(handle_.get(), path, name);
  Handle const type(HDF5_CHECK(H5Aget_type(attribute.get())), H5Tclose);
  Handle const space(HDF5_CHECK(H5Aget_space(attribute.get())), H5Sclose);
  validate(HDF5_CHECK(H5Tget_class(type.get())) == H5T_INTEGER, "The attribute ", name, " is not an integer.");
  expect_one(space.get());
  std::int64_t value = 0;
  HDF5_CHECK(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value));
  return value;
}

std::string File::text_attribute(std::string const& path, std::string const& name) const {
  Handle const attribute = open_attribute(handle_.get(), path, name);
  Handle const type(HDF5_CHECK(H5Aget_type(attribute.get())), H5Tclose);
  Handle const space(HDF5_CHECK(H5Aget_space(attribute.get())), H5Sclose);
  expect_one(space.get());
  std::string text = room_for(type.get());
  HDF5_CHECK(H5Aread(attribute.get(), type.get(), text.data()));
  return strip_padding(std::move(text));
}

std::vector<std::string> File::attribute_names(std::string const& path) const {
  std::vector<std::string> names;
  auto const add = [](hid_t, char const* name, H5A_info_t const*, void* data) -> herr_t {
    static_cast<std::vector<std::string>*>(data)->emplace_back(name);
    return 0;
  };
  HDF5_CHECK(
      H5Aiterate_by_name(handle_.get(), path.c_str(), H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names, H5P_DEFAULT));
  return names;
}

}  // namespace selenite::hdf5
