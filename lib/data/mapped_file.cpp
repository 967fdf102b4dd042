#include "data/mapped_file.hpp"

#include <bit>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "core/error.hpp"

namespace selenite {

static_assert(std::endian::native == std::endian::little,
              "the formats of lib/data are little-endian and mapped as they are");

MappedFile::MappedFile(std::filesystem::path const& path) : path_(path) {
  int const file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  validate(file >= 0, "Cannot open '", path.string(), "' (", std::strerror(errno),
           "). Check the path and the permissions.");
  struct stat status {};
  int const stat_error = ::fstat(file, &status) == 0 ? 0 : errno;
  bool const regular = stat_error == 0 && S_ISREG(status.st_mode);
  void* address = nullptr;
  int map_error = 0;
  if (regular && status.st_size > 0) {
    address = ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, file, 0);
    if (address == MAP_FAILED) map_error = errno, address = nullptr;
  }
  ::close(file);
  validate(stat_error == 0, "Cannot read '", path.string(), "' (", std::strerror(stat_error),
           "). Check the file system.");
  validate(regular, "Cannot map '", path.string(), "' (it is not a regular file). Give the path of a file.");
  validate(map_error == 0, "Cannot map '", path.string(), "' (", std::strerror(map_error),
           "). Check the limit on virtual memory (ulimit -v).");
  data_ = static_cast<std::byte const*>(address);
  size_ = static_cast<std::size_t>(status.st_size);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::swap(MappedFile& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
}

}  // namespace selenite
