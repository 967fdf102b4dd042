#include "tests/shim/warpgroup.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "tests/shim/memory.hpp"

namespace selenite::shim {
namespace {

constexpr int warps = 4, rows = 16, depth = 16;
constexpr std::uint32_t first_address = 128;

struct Range {
  std::uint32_t begin = std::numeric_limits<std::uint32_t>::max(), end = 0;
  void add(std::uint32_t address, std::uint32_t bytes) {
    begin = std::min(begin, address), end = std::max(end, address + bytes);
  }
};
/// Of a thread.
struct Products {
  struct Sums {
    float (*registers)[4];
    std::vector<float> values;
    int batch;
  };
  struct Left {
    std::uint32_t const* registers;
    std::array<std::uint32_t, 4> values;
    int batch;
  };
  std::vector<Sums> sums;
  std::vector<Left> lefts;
  int batch = 0;  // that is open
  bool begun = false, copies_arrived = false;
};
std::vector<Products>& all_products() {
  thread_local std::vector<Products> threads;
  return threads;
}
Products& products_of(int thread) {
  auto const i = static_cast<std::size_t>(thread);
  if (all_products().size() <= i) all_products().resize(i + 1);
  return all_products()[i];
}
Products& mine() { return products_of(thread()); }
/// What products under way read; kept with the lane that made a warp's.
struct Read {
  Range range;
  int thread, batch;
};
std::vector<Read>& reads() {
  thread_local std::vector<Read> all;
  return all;
}
/// The products of a warpgroup so far, by their operands in shared memory, and how many each warp has begun of them.
struct Group {
  std::vector<std::array<std::uint64_t, 2>> operands;
  std::array<std::size_t, warps> begun{};
  std::size_t met = 0, begun_by_first = 0;  ///< threads, and products of the first of them
};
std::map<int, Group>& groups() {
  thread_local std::map<int, Group> all;
  return all;
}
Group& group() { return groups()[thread() / (32 * warps)]; }
int warp_of_group() { return thread() / 32 % warps; }
/// The warpgroup meets, as each of its instructions has it: all its warps have begun the same products.
void meet(At at) {
  Group& g = group();
  std::size_t const mine = g.begun[static_cast<std::size_t>(warp_of_group())];
  if (g.met++ % (32 * warps) == 0) g.begun_by_first = mine;
  validate(mine == g.begun_by_first, "A warp of a warpgroup has left out a product that others have started (",
           at.file_name(), ":", at.line(), "). Let all four start it.");
  group_or(0, at);
}
/// Threads whose copies have arrived and were not shown.
int& unshown() {
  thread_local int threads;
  return threads;
}

/// A matrix as its descriptor has it.
class Matrix {
 public:
  Matrix(std::uint64_t descriptor, At at) {
    auto const bits = [&](int first, int count) {
      return static_cast<std::uint32_t>(descriptor >> first & ((std::uint64_t{1} << count) - 1));
    };
    start_ = bits(0, 14) << 4, leading_ = bits(16, 14) << 4, stride_ = bits(32, 14) << 4;
    int const mode = static_cast<int>(bits(62, 2));
    validate(mode != 0 && bits(49, 3) == 0,
             "A product's descriptor asks for what the shim has not (no swizzling, or a "
             "base offset; ",
             at.file_name(), ":", at.line(), "). Add it to tests/shim/warpgroup.cpp.");
    row_bytes_ = 256u >> mode;
  }
  /// Address of element (row, k), rows of k one after the other.
  std::uint32_t by_rows(int row, int k) { return read(start_ + row_offset(row) + static_cast<std::uint32_t>(k) * 2); }
  /// Of element (k, col), rows of columns one after the other.
  std::uint32_t by_columns(int k, int col) {
    auto const width = row_bytes_ / 2, n = static_cast<std::uint32_t>(col);
    return read(start_ + n / width * leading_ + row_offset(k) + n % width * 2);
  }
  Range const& range() const { return range_; }

 private:
  std::uint32_t row_offset(int row) const {
    auto const r = static_cast<std::uint32_t>(row);
    return r / 8 * stride_ + r % 8 * row_bytes_;
  }
  std::uint32_t read(std::uint32_t address) {
    address ^= (address >> 7 & (row_bytes_ / 16 - 1)) << 4;
    range_.add(address, 2);
    return address;
  }
  std::uint32_t start_, leading_, stride_, row_bytes_;
  Range range_;
};

std::uint16_t element_at(std::uint32_t address) {
  std::byte const* const p = dynamic_shared_bytes() + (static_cast<std::int64_t>(address) - first_address);
  expect_shared(p, 2);
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}

}  // namespace

std::uint32_t shared_address(void const* p) {
  return static_cast<std::uint32_t>(static_cast<std::byte const*>(p) - dynamic_shared_bytes()) + first_address;
}
void show_to_products() { unshown() -= std::exchange(mine().copies_arrived, false); }
void copy_arrived(int thread) { unshown() += !std::exchange(products_of(thread).copies_arrived, true); }
void expect_unread(void const* to, std::size_t bytes) {
  std::uint32_t const begin = shared_address(to), end = begin + static_cast<std::uint32_t>(bytes);
  if (begin < first_address || begin >= first_address + dynamic_shared_size()) return;
  for (Read const& read : reads())
    validate(end <= read.range.begin || begin >= read.range.end,
             "A copy to shared memory is started over what a product reads that has not been waited for. Wait for it, "
             "and let the block meet, before.");
}

void begin_products(At at) {
  meet(at);
  mine().begun = true;
}
void end_products(At at) {
  meet(at);
  ++mine().batch;
}
void wait_for_products(int batches, At at) {
  meet(at);
  Products& p = mine();
  p.begun = false;  // what now can be used may be written before the next
  auto const done = [&](auto const& x) { return x.batch < p.batch - batches; };
  auto const fail_if = [&](bool wrong, char const* what) {
    validate(!wrong, "A product's ", what, " in registers are written before it has been waited for (", at.file_name(),
             ":", at.line(), " waits). Wait earlier, or hold them.");
  };
  for (Products::Sums const& sums : p.sums) {
    if (!done(sums)) continue;
    auto const* const bytes = reinterpret_cast<unsigned char const*>(sums.registers);
    std::size_t const size = sums.values.size() * sizeof(float);
    fail_if(std::any_of(bytes, bytes + size, [](unsigned char b) { return b != 0xff; }), "sums");
    std::memcpy(sums.registers, sums.values.data(), size);
  }
  for (Products::Left const& left : p.lefts)
    if (done(left)) fail_if(!std::equal(left.values.begin(), left.values.end(), left.registers), "left operands");
  std::erase_if(p.sums, done);
  std::erase_if(p.lefts, done);
  std::erase_if(reads(), [&](Read const& read) { return read.thread == thread() && done(read); });
}
void expect_no_products() {
  for (Products const& p : all_products())
    validate(p.sums.empty(), "A thread has ended before its products. Wait for them.");
}
void forget_products() { all_products().clear(), reads().clear(), groups().clear(), unshown() = 0; }

void start_product(float (*registers)[4], int tiles, LeftOperand const& a, std::uint64_t b, bool b_transposed,
                   float (*value)(std::uint16_t), bool adds, At at) {
  auto const fail_if = [&](bool wrong, char const* why) {
    validate(!wrong, "A product can't be started (", why, "; ", at.file_name(), ":", at.line(), ").");
  };
  fail_if(!mine().begun, "its registers were not made ready: call begin_products() before");
  fail_if(unshown() > 0, "it would not see copies to shared memory: call show_to_products() before the barrier");

  SharedOperands& given = share_operands({{a.words[0], a.words[1], b}}, at);
  int const cols = tiles * 8;
  Matrix left(a.in_memory ? a.words[0] : b, at), right(b, at);
  std::array<std::uint64_t, 2> const in_memory{a.in_memory ? a.words[0] : 0, b};
  auto const fail_unless_same = [&](std::array<std::uint64_t, 2> const& other) {
    fail_if(other != in_memory, "its threads disagree about its operands in shared memory: these are a warpgroup's");
  };
  for (Operands const& other : given.of) fail_unless_same({a.in_memory ? other.words[0] : 0, other.words[2]});
  if (!given.has_result) {  // the first lane of the warp makes its 16 rows
    std::size_t const number = group().begun[static_cast<std::size_t>(warp_of_group())]++;
    if (number == group().operands.size()) group().operands.push_back(in_memory);
    fail_unless_same(group().operands[number]);
    float left_values[rows][depth];
    int const first_row = warp_of_group() * rows;
    for (int r = 0; r < rows; ++r)
      for (int k = 0; k < depth; ++k) {
        if (a.in_memory) {
          left_values[r][k] = value(element_at(left.by_rows(first_row + r, k)));
        } else {  // of the lane that has it
          int const number = r / 8 + k / 8 * 2, lane = r % 8 * 4 + k % 8 / 2;
          auto const pair = static_cast<std::uint32_t>(given.of[lane].words[number / 2] >> (32 * (number % 2)));
          left_values[r][k] = value(static_cast<std::uint16_t>(pair >> (16 * (k % 2))));
        }
      }
    std::memset(given.wide, 0, sizeof given.wide);
    for (int k = 0; k < depth; ++k)
      for (int n = 0; n < cols; ++n) {
        float const x = value(element_at(b_transposed ? right.by_rows(n, k) : right.by_columns(k, n)));
        for (int r = 0; r < rows; ++r) given.wide[r][n] += left_values[r][k] * x;
      }
    given.has_result = true;
    if (a.in_memory) reads().push_back({left.range(), thread(), mine().batch});
    reads().push_back({right.range(), thread(), mine().batch});
  }

  Products& p = mine();
  if (a.registers) p.lefts.push_back({a.registers, {}, p.batch});
  if (a.registers) std::copy_n(a.registers, 4, p.lefts.back().values.begin());
  auto of = std::find_if(p.sums.begin(), p.sums.end(), [&](auto const& s) { return s.registers == registers; });
  auto const count = static_cast<std::size_t>(tiles) * 4;
  if (of == p.sums.end()) {
    of = p.sums.insert(of, {registers, std::vector<float>(&registers[0][0], &registers[0][0] + count), 0});
    std::memset(registers, 0xff, count * sizeof(float));
  }
  of->batch = p.batch;
  if (!adds) std::fill(of->values.begin(), of->values.end(), 0.0f);
  int const g = lane() / 4, c = lane() % 4 * 2;
  for (int i = 0; i < tiles * 4; ++i)
    of->values[static_cast<std::size_t>(i)] += given.wide[g + i % 4 / 2 * 8][i / 4 * 8 + c + i % 2];
}

}  // namespace selenite::shim
