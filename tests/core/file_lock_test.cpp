// A lock that one holder has at a time, also where its file comes and goes.
#include "core/file_lock.hpp"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <random>
#include <thread>
#include <unistd.h>
#include <vector>

#include "core/error.hpp"

using namespace selenite;

namespace {

struct LockFile {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / concat("selenite-lock-", getpid(), "-", std::random_device()());
  ~LockFile() { std::filesystem::remove(path); }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(file_lock)

BOOST_AUTO_TEST_CASE(one_has_it_and_is_named) {
  LockFile const file;
  FileLock second(file.path);
  {
    FileLock first(file.path);
    BOOST_TEST(first.take() == 0);
    BOOST_TEST(second.take() == EWOULDBLOCK);
    BOOST_TEST(second.holder().starts_with(concat(getpid(), " ")));
    BOOST_TEST(!second.holder_is_dead());
    FileLock const moved = std::move(first);
    BOOST_TEST(second.take() == EWOULDBLOCK);
  }
  BOOST_TEST(second.take() == 0);
  BOOST_CHECK_THROW(FileLock(file.path / "no" / "folder").take(), Error);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_removed_keeps_others_out_until_then) {
  LockFile const file;
  std::atomic<int> inside = 0, taken = 0, together = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 2000; ++i) {
          FileLock lock(file.path);
          if (lock.take() != 0) continue;
          together += ++inside > 1;
          ++taken;
          --inside;
          lock.remove_file();
        }
      });
    }
  }
  BOOST_TEST(together == 0);
  BOOST_TEST(taken > 0);
  BOOST_TEST(!std::filesystem::exists(file.path));
}

BOOST_AUTO_TEST_SUITE_END()
