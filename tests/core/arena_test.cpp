#include "core/arena.hpp"

#include <boost/test/unit_test.hpp>
#include <random>

#include "core/error.hpp"

using namespace selenite;

BOOST_AUTO_TEST_SUITE(arena)

BOOST_AUTO_TEST_CASE(measuring_and_real_arenas_count_alike) {
  Memory const memory(1 << 20);
  Arena real("real", memory.base(), 1 << 20), measuring("measuring");
  BOOST_TEST(measuring.measuring());
  BOOST_TEST(!real.measuring());
  std::mt19937 random(3);
  std::vector<std::int64_t> marks;
  for (int i = 0; i < 500; ++i) {
    if (!marks.empty() && (random() % 3 == 0 || real.mark() > 900000)) {
      real.release(marks.back()), measuring.release(marks.back());
      marks.pop_back();
    } else {
      marks.push_back(real.mark());
      Shape const shape{static_cast<std::int64_t>(random() % 50), 7};
      Tensor const a = real.allocate(DType::bf16, shape), b = measuring.allocate(DType::bf16, shape);
      BOOST_TEST_REQUIRE(!b.raw());
      BOOST_TEST_REQUIRE(reinterpret_cast<std::uintptr_t>(a.raw()) % Arena::alignment == 0u);
    }
    BOOST_TEST_REQUIRE(real.mark() == measuring.mark());
    BOOST_TEST_REQUIRE(real.peak() == measuring.peak());
  }
}

BOOST_AUTO_TEST_CASE(the_peak_stays_and_the_mark_goes_back) {
  Arena a("a");
  {
    ScopedMark const mark(a);
    a.allocate(DType::fp32, {64});
    a.allocate(DType::uint8, {1});
    BOOST_TEST(a.mark() == 512);
  }
  BOOST_TEST(a.mark() == 0);
  BOOST_TEST(a.peak() == 512);
}

BOOST_AUTO_TEST_CASE(too_small_an_arena_names_itself) {
  Arena a("scratch", nullptr, 512);
  a.allocate(DType::fp32, {64});
  BOOST_CHECK_EXCEPTION(a.allocate(DType::fp32, {65}), Error, [](Error const& e) {
    return std::string(e.what()).find("The scratch memory is too small (512 bytes asked for, 256 of 512 left)") == 0;
  });
  BOOST_TEST(a.mark() == 256);
}

BOOST_AUTO_TEST_CASE(memory_is_zero_and_moves) {
  Memory first(3 << 20);
  for (std::int64_t i = 0; i < 3 << 20; i += 511) BOOST_TEST_REQUIRE((first.base()[i] == std::byte{0}));
  std::byte* const base = first.base();
  Memory second;
  second = std::move(first);
  BOOST_TEST(second.base() == base);
  BOOST_CHECK_EXCEPTION(Memory(std::int64_t{1} << 60), Error,
                        [](Error const& e) { return std::string(e.what()).find("Can't take") == 0; });
}

BOOST_AUTO_TEST_SUITE_END()
