#include "core/files.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "core/error.hpp"

namespace selenite {
namespace {

[[noreturn]] void fail(char const* what, std::filesystem::path const& path, int reason = errno) {
  throw Error(concat("Cannot ", what, " ", path.string(), " (", std::generic_category().message(reason),
                     "). Check the path, its permissions and the free space."));
}

}  // namespace

OpenFile::OpenFile(std::filesystem::path const& path, Mode mode) : path_(path) {
  int const flags = mode == Mode::read    ? O_RDONLY
                    : mode == Mode::write ? O_RDWR | O_CREAT
                                          : O_RDWR | O_CREAT | O_APPEND;
  descriptor_ = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("open", path);
}

OpenFile::~OpenFile() { ::close(descriptor_); }

void OpenFile::write(std::string_view text) {
  while (!text.empty()) {
    auto const written = ::write(descriptor_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", path_);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::int64_t OpenFile::read(std::int64_t first, std::span<char> to) const {
  std::size_t done = 0;
  while (done < to.size()) {
    auto const n = ::pread(descriptor_, to.data() + done, to.size() - done, first + static_cast<std::int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("read", path_);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return static_cast<std::int64_t>(done);
}

void OpenFile::truncate(std::int64_t bytes) {
  if (::ftruncate(descriptor_, bytes) != 0) fail("cut", path_);
}

void OpenFile::reserve(std::int64_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < static_cast<rlim_t>(bytes)) {
    fail("reserve room for", path_, EFBIG);
  }
  if (bytes <= 0 || ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, 0, bytes) == 0) return;
  if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR || errno == EINVAL) return;
  fail("reserve room for", path_);
}

void OpenFile::start_writeback(std::int64_t first, std::int64_t bytes) {
  static_cast<void>(::sync_file_range(descriptor_, first, bytes, SYNC_FILE_RANGE_WRITE));
}

std::int64_t OpenFile::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail("look at", path_);
  return status.st_size;
}

void OpenFile::sync() {
  if (::fsync(descriptor_) != 0) fail("write out", path_);
}

std::string message_of(std::exception const& error) {
  auto const* const system = dynamic_cast<std::filesystem::filesystem_error const*>(&error);
  if (!system) return error.what();
  return concat("Cannot use ", system->path1().empty() ? "a file" : system->path1().string(), " (",
                system->code().message(), "). Check the path and its permissions.");
}

std::string reason_of(std::exception const& error) {
  std::string reason = message_of(error);
  if (auto const advice = reason.rfind("). "); advice != std::string::npos) reason.resize(advice + 1);
  if (reason.ends_with('.')) reason.pop_back();
  return reason;
}

void sync_folder(std::filesystem::path const& folder) {
  OpenFile(folder.empty() ? "." : folder, OpenFile::Mode::read).sync();
}

std::int64_t free_bytes(std::filesystem::path const& folder) {
  std::error_code error;
  auto const space = std::filesystem::space(folder, error);
  return error ? -1 : static_cast<std::int64_t>(space.available);
}

bool is_there(std::filesystem::path const& path) {
  std::error_code error;
  bool const there = std::filesystem::exists(path, error);
  if (error) fail("look at", path, error.value());
  return there;
}

void make_folder(std::filesystem::path const& folder) {
  std::error_code error, ignored;
  std::filesystem::create_directories(folder, error);
  if (error && !std::filesystem::is_directory(folder, ignored)) fail("make the folder", folder, error.value());
}

void rename_durably(std::filesystem::path const& from, std::filesystem::path const& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail("rename to", to);
  sync_folder(to.parent_path());
}

void write_file_atomically(std::filesystem::path const& path, std::string_view text) {
  std::filesystem::path const temporary = concat(path.string(), ".", ::getpid(), ".partial");
  try {
    {
      OpenFile file(temporary, OpenFile::Mode::write);
      file.truncate(0);
      file.write(text);
      file.sync();
    }
    rename_durably(temporary, path);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

}  // namespace selenite
