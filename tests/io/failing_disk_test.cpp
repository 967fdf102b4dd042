#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.hpp"
#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

// HDF5 writes through pwrite; the one of the executable comes before the system's.
namespace {
std::atomic<int> writes_left{-1};  // that succeed; below zero: all
std::atomic<dev_t> failing_device{0};
bool on_failing_device(int file) {
  struct stat status {};
  return fstat(file, &status) == 0 && status.st_dev == failing_device;
}
}  // namespace
extern "C" ssize_t pwrite(int file, void const* bytes, size_t count, off_t offset) {
  if (writes_left == 0 && on_failing_device(file)) {
    errno = ENOSPC;
    return -1;
  }
  if (writes_left > 0) --writes_left;
  return syscall(SYS_pwrite64, file, bytes, count, offset);
}

BOOST_AUTO_TEST_SUITE(failing_disk)

BOOST_AUTO_TEST_CASE(a_save_may_fail_at_any_write) {
  std::vector<Known> const tensors{{"weight", "a", DType::fp32, {30, 11}, 1},
                                   {"weight", "b", DType::fp32, {700, 3000}, 2}};
  int n = 0, failures = 0;
  for (bool failed = true; failed && n < 200; ++n) {
    TemporaryFolder const root;
    int const result = in_child(30, [&] {
      {
        IoThread io;
        save_known(io, root.path(), tensors, 100, 1);
        struct stat status {};
        stat(root.path().c_str(), &status);
        failing_device = status.st_dev;
        writes_left = n;
        std::string error;
        try {
          save_known(io, root.path(), tensors, 200, 1);
        } catch (Error const& e) {
          error = e.what();
        }
        writes_left = -1;
        std::int64_t const newest = error.empty() ? 200 : 100;
        if (newest_checkpoint(io, root.path(), CheckDepth::bytes).found->step != newest) return 3;
        if (std::filesystem::exists(partial_folder(root.path(), 200))) return 4;
        save_known(io, root.path(), tensors, 300, 1);
        if (newest_checkpoint(io, root.path(), CheckDepth::bytes).found->step != 300) return 5;
        if (!error.empty() && error.find("No space left") == std::string::npos) return 6;
        if (error.empty()) return 10;
      }
      std::exit(0);  // HDF5 might want to close then what could not be closed before
      return 0;
    });
    BOOST_TEST((result == 0 || result == 10), concat("write ", n, " gave ", result));
    failed = result != 10;
    failures += result == 0;
  }
  BOOST_TEST(failures > 5);
  BOOST_TEST_MESSAGE(concat(failures, " places to fail"));
}

BOOST_AUTO_TEST_SUITE_END()
