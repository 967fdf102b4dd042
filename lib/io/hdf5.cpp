#include "io/hdf5.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/hdf5_detail.hpp"

namespace selenite::hdf5 {
namespace {

/// Innermost and outermost descriptions of the message stack.
struct Reasons {
  std::string innermost, outermost;
};

herr_t collect(unsigned n, H5E_error2_t const* error, void* data) {
  auto& reasons = *static_cast<Reasons*>(data);
  std::string const text = error->desc ? error->desc : "";
  if (n == 0) reasons.innermost = text;
  reasons.outermost = text;
  return 0;
}

Handle file_access() {
  Handle list(HDF5_CHECK(H5Pcreate(H5P_FILE_ACCESS)), H5Pclose);
  HDF5_CHECK(H5Pset_libver_bounds(list.get(), H5F_LIBVER_V110, H5F_LIBVER_V110));
  HDF5_CHECK(H5Pset_file_locking(list.get(), false, true));  // parallel file systems often have no locks
  HDF5_CHECK(H5Pset_fclose_degree(list.get(), H5F_CLOSE_STRONG));
  HDF5_CHECK(H5Pset_alignment(list.get(), 64 << 10, 4096));   // big chunks start on a page
  HDF5_CHECK(H5Pset_meta_block_size(list.get(), 256 << 10));  // small things lie together
  return list;
}

/// HDF5 prints its errors unless told not to, for each thread; and when the process ends it closes what is open, which
/// crashes where a file could not be written. All files are closed here, so it need not.
void be_calm() {
  H5dont_atexit();  // once, before anything else; later calls change nothing
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5Eclear2(H5E_DEFAULT);
}

}  // namespace

void fail(char const* expression, char const* file, int line) {
  Reasons reasons;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect, &reasons);
  H5Eclear2(H5E_DEFAULT);
  std::string_view const place(file);
  std::string_view const call(expression);
  throw Error(concat(call.substr(0, call.find('(')), " failed at ", place.substr(place.rfind('/') + 1), ":", line,
                     " (HDF5: ", reasons.innermost,
                     reasons.outermost == reasons.innermost ? "" : "; " + reasons.outermost, ")."));
}

Handle& Handle::operator=(Handle&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(close_, other.close_);
  return *this;
}

void Handle::reset() {
  if (id_ >= 0) {
    close_(id_);
    H5Eclear2(H5E_DEFAULT);
  }
  id_ = -1;
}

std::int64_t Handle::release() { return std::exchange(id_, -1); }

File File::create(std::filesystem::path const& path) {
  be_calm();
  Handle const access = file_access();
  return File(Handle(HDF5_CHECK(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get())), H5Fclose), true);
}

File File::open(std::filesystem::path const& path) {
  be_calm();
  Handle const access = file_access();
  return File(Handle(HDF5_CHECK(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get())), H5Fclose), false);
}

namespace {

/// HDF5 cannot close a file that it cannot write: so what it still wants to write goes to memory, and is lost.
/// `keep_inode`: the file, emptied, stays open beside it, since HDF5 takes a new file of the same inode for the lost one.
void cut_off(hid_t file, bool keep_inode) {
  void* descriptor = nullptr;
  int const memory = memfd_create("given up", MFD_CLOEXEC);
  if (memory < 0) return;
  if (H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor) >= 0) {
    int const target = *static_cast<int*>(descriptor);
    if (keep_inode) static_cast<void>(ftruncate(fcntl(target, F_DUPFD_CLOEXEC, 0), 0) == 0);
    dup2(memory, target);
  }
  ::close(memory);
}

}  // namespace

File::~File() {
  if (writing_ && handle_.get() >= 0) cut_off(handle_.get(), false);
}

void File::close() {
  if (H5Fflush(handle_.get(), H5F_SCOPE_LOCAL) < 0) {
    // Half flushed, it cannot be closed at all any more: HDF5 would crash. It is left as it is until the process ends.
    try {
      fail("H5Fflush", __FILE__, __LINE__);
    } catch (...) {
      cut_off(handle_.release(), true);
      throw;
    }
  }
  HDF5_CHECK(H5Fclose(handle_.release()));
}

void File::create_group(std::string const& path) {
  Handle(HDF5_CHECK(H5Gcreate2(handle_.get(), path.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)), H5Gclose);
}

bool File::exists(std::string const& path) const {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    if (!HDF5_CHECK(H5Lexists(handle_.get(), path.substr(0, end).c_str(), H5P_DEFAULT))) return false;
    if (end == std::string::npos) return true;
  }
}

std::vector<std::string> File::members(std::string const& group) const {
  Handle const id(HDF5_CHECK(H5Gopen2(handle_.get(), group.c_str(), H5P_DEFAULT)), H5Gclose);
  std::vector<std::string> names;
  auto const add = [](hid_t, char const* name, H5L_info_t const*, void* data) -> herr_t {
    static_cast<std::vector<std::string>*>(data)->emplace_back(name);
    return 0;
  };
  HDF5_CHECK(H5Literate(id.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names));
  return names;
}

std::string library_version() {
  unsigned major = 0, minor = 0, release = 0;
  HDF5_CHECK(H5get_libversion(&major, &minor, &release));
  return concat(major, ".", minor, ".", release);
}

}  // namespace selenite::hdf5
