#include "data/output_file.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <unistd.h>

#include "core/error.hpp"

namespace selenite {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{1} << 20;

[[noreturn]] void fail(char const* what, std::filesystem::path const& path, int error) {
  throw Error(concat("Cannot ", what, " '", path.string(), "' (", std::strerror(error),
                     "). Check the path, the permissions and the room on the file system."));
}

}  // namespace

OutputFile::OutputFile(std::filesystem::path const& path) : path_(path) {
  file_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_ < 0) fail("create", path, errno);
  buffer_.reserve(buffer_bytes);
}

OutputFile::OutputFile(std::filesystem::path const& path, std::int64_t size) : path_(path), flushed_(size) {
  file_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file_ < 0) fail("reopen", path, errno);
  std::int64_t const end = ::lseek(file_, 0, SEEK_END);
  int const error = end < size ? 0 : ::ftruncate(file_, size) != 0 || ::lseek(file_, size, SEEK_SET) < 0 ? errno : 0;
  if (end < size || error != 0) {  // a constructor that throws runs no destructor
    ::close(file_);
    if (error != 0) fail("cut", path, error);
    throw Error(concat("Cannot go on writing '", path.string(), "' (it has ", end, " bytes where ", size,
                       " were recorded). Start again from the beginning."));
  }
  buffer_.reserve(buffer_bytes);
}

OutputFile::~OutputFile() { ::close(file_); }

void OutputFile::write(std::span<std::byte const> bytes) {
  if (buffer_.size() + bytes.size() > buffer_bytes) flush();
  if (bytes.size() >= buffer_bytes) return write_through(bytes);
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void OutputFile::flush() {
  write_through(buffer_);
  buffer_.clear();
}

void OutputFile::write_through(std::span<std::byte const> bytes) {
  while (!bytes.empty()) {
    ssize_t const written = ::write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", path_, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    flushed_ += written;
  }
}

void OutputFile::sync() {
  flush();
  // EINVAL: a pipe or a special file, which has nothing to sync.
  if (::fsync(file_) != 0 && errno != EINVAL) fail("sync", path_, errno);
}

void replace_file(std::filesystem::path const& path, std::function<void(OutputFile&)> const& fill) {
  std::random_device random;
  std::filesystem::path const temporary = concat(path.string(), ".", std::hex, random(), random(), ".partial");
  try {
    OutputFile file(temporary);
    fill(file);
    file.flush();
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail("rename to", path, errno);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

}  // namespace selenite
