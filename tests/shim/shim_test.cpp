#define BOOST_TEST_MODULE shim
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "tests/shim/block.hpp"
#include "tests/shim/planted.cuh"

using namespace selenite;
using namespace selenite::shim;

namespace {

constexpr std::size_t elements = 128, block_elements = 64, guard = 4;

/// Input and output between zones of NaN, 16-byte aligned.
struct Data {
  alignas(16) float bytes[2][elements + 2 * guard];
  Data() {
    std::memset(bytes, 0xff, sizeof bytes);
    for (std::size_t i = 0; i < elements; ++i) x()[i] = static_cast<float>(i % 17) + 1;
  }
  float* x() { return bytes[0] + guard; }
  float* out() { return bytes[1] + guard; }
  bool guards_whole() const {
    unsigned char const* const p = reinterpret_cast<unsigned char const*>(bytes[1]);
    auto untouched = [&](std::size_t first, std::size_t count) {
      for (std::size_t i = first * sizeof(float); i < (first + count) * sizeof(float); ++i)
        if (p[i] != 0xff) return false;
      return true;
    };
    return untouched(0, guard) && untouched(guard + elements, guard);
  }
};

/// What was found in any of the orders: an error's message, "guard", "wrong", or "" for nothing.
std::string finding(std::function<void(Cuda const&, Data&)> const& launch,
                    std::function<float(Data&, std::size_t)> want) {
  for (Order const order : {Order::forward, Order::reverse, Order::shuffled}) {
    set_order(order);
    Data data;
    try {
      launch(Cuda{}, data);
    } catch (Error const& error) {
      return error.what();
    }
    if (!data.guards_whole()) return "guard";
    for (std::size_t i = 0; i < elements; ++i)
      if (!(data.out()[i] == want(data, i))) return "wrong";
  }
  return "";
}
std::string finding(Bug bug) {
  return finding([=](Cuda const& cuda, Data& data) { sum_of_blocks(cuda, data.x(), data.out(), bug); },
                 [](Data& data, std::size_t i) {
                   float const* const x = data.x() + i / block_elements * block_elements;
                   float sum = x[0];
                   for (std::size_t j = 0; j < block_elements; ++j) sum += x[j];
                   return sum;
                 });
}
std::string rotation_finding(bool barrier) {
  return finding([=](Cuda const& cuda, Data& data) { rotate_warps(cuda, data.x(), data.out(), barrier); },
                 [](Data& data, std::size_t i) { return data.x()[i / 32 * 32 + (i + 1) % 32]; });
}
std::string finding(ProductBug bug) {
  return finding([=](Cuda const& cuda, Data& data) { add_product(cuda, data.x(), data.out(), bug); },
                 [](Data& data, std::size_t i) { return data.x()[i]; });
}
template <class Bug>
void check_found(Bug bug, std::string const& text) {
  std::string const found = finding(bug);
  BOOST_CHECK_MESSAGE(found.find(text) != std::string::npos, "wanted \"" << text << "\", found \"" << found << "\"");
}

}  // namespace

BOOST_AUTO_TEST_CASE(without_a_bug_nothing_is_found) {
  BOOST_TEST(finding(Bug::none) == "");
  BOOST_TEST(rotation_finding(true) == "");
}

BOOST_AUTO_TEST_CASE(accesses_out_of_bounds) {
  check_found(Bug::shared_beyond_end, "Index 2 of a shared array is out of bounds (it has 2 elements)");
  check_found(Bug::dynamic_beyond_end, "Index 4 of a shared array is out of bounds (it has 4 elements)");
  check_found(Bug::copy_beyond_end, "is out of bounds (no array of shared memory has it)");
  check_found(Bug::global_write_beyond_end, "guard");
  check_found(Bug::global_read_beyond_end, "wrong");
  check_found(Bug::misaligned, "is not aligned");
  check_found(Bug::unwritten_shared, "wrong");
  check_found(Bug::shared_not_asked_for, "A block has 8 bytes of static and 49152 of dynamic shared memory");
}

BOOST_AUTO_TEST_CASE(missing_barriers) {
  check_found(Bug::missing_barrier, "wrong");
  check_found(Bug::missing_second_barrier, "wrong");
  BOOST_TEST(rotation_finding(false) == "wrong");
}

BOOST_AUTO_TEST_CASE(barriers_that_not_all_reach) {
  check_found(Bug::divergent_barrier, "Threads of a block wait at different barriers");
  check_found(Bug::divergent_tile, "The threads of a block wait for each other in vain");
  check_found(Bug::exited_thread, "thread 40 has ended");
  check_found(Bug::exited_lane, "thread 3 has ended");
  check_found(Bug::lane_outside_mask, "A thread reads from lane 16, which takes no part");
}

BOOST_AUTO_TEST_CASE(products_of_warpgroups) {
  BOOST_TEST(finding(ProductBug::none) == "");
  check_found(ProductBug::not_begun, "its registers were not made ready");
  check_found(ProductBug::copies_not_shown, "it would not see copies to shared memory");
  check_found(ProductBug::read_too_early, "wrong");
  check_found(ProductBug::copied_over, "over what a product reads that has not been waited for");
  check_found(ProductBug::not_waited_for, "A thread has ended before its products");
  check_found(ProductBug::outside_of_memory, "is out of bounds");
  check_found(ProductBug::not_uniform, "its threads disagree about its operands");
  check_found(ProductBug::not_of_the_group, "its threads disagree about its operands");
  check_found(ProductBug::left_out, "A warp of a warpgroup has left out a product");
  check_found(ProductBug::waited_for_by_some, "Threads of a block wait at different barriers");
  check_found(ProductBug::sums_written, "A product's sums in registers are written before");
  check_found(ProductBug::operand_written, "A product's left operands in registers are written before");
  BOOST_TEST(finding(ProductBug::none) == "");
}

BOOST_AUTO_TEST_CASE(more_shared_memory_than_the_device_has) {
  std::string const found = finding(
      [](Cuda cuda, Data& data) {
        cuda.device.shared_bytes = 15;
        sum_of_blocks(cuda, data.x(), data.out(), Bug::none);
      },
      [](Data&, std::size_t) { return 0.0f; });
  BOOST_CHECK_MESSAGE(found.find("16 bytes a block, of 15") != std::string::npos, found);
}

// After an error the fibers are in the middle of the kernel: the next launch must not meet them.
BOOST_AUTO_TEST_CASE(the_next_launch_is_clean) {
  check_found(Bug::exited_thread, "thread 40 has ended");
  BOOST_TEST(finding(Bug::none) == "");
}
