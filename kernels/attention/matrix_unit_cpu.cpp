#include "kernels/attention/matrix_unit_cpu.hpp"

#if defined(__AMX_BF16__) && !SELENITE_ATTENTION_PAIRS && !SELENITE_ATTENTION_TILES
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace selenite::attention_cpu {

#if SELENITE_ATTENTION_TILES

MatrixUnit::MatrixUnit() : ready_(true) {}
MatrixUnit::~MatrixUnit() = default;
void MatrixUnit::multiply(std::int64_t m, std::int64_t n, std::int64_t groups, Matrix<std::uint32_t const> a,
                          Matrix<std::uint32_t const> b, Matrix<float> c, bool accumulate) const {
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; j += lanes) {
      Floats sum = accumulate ? load_floats(c.data + i * c.stride + j) : Floats{};
      for (std::int64_t g = 0; g < groups; ++g)
        sum = dot_pairs(sum, a.data[i * a.stride + g], load_vector<Words>(b.data + g * b.stride + j));
      store_vector(c.data + i * c.stride + j, sum);
    }
}

#elif defined(__AMX_BF16__) && !SELENITE_ATTENTION_PAIRS

namespace {

/// Asks Linux for the tile registers (arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), once a process.
bool tiles_granted() {
  constexpr long request_permission = 0x1023, tile_data = 18;
  static bool const granted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  return granted;
}

/// Eight tiles of 16 rows of 64 bytes. Constant memory: the compiler does not know that the instruction reads it all.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileShapes shapes;

template <class Element>
long bytes(Matrix<Element> x) {
  return static_cast<long>(x.stride) * 4;
}

/// Up to 32 x 32 sums: tiles 0 to 3, by rows; 4 and 5 hold A, 6 and 7 hold B. Tile numbers are part of the instruction.
template <bool two_rows, bool two_cols>
void block(std::int64_t groups, Matrix<std::uint32_t const> a, Matrix<std::uint32_t const> b, Matrix<float> c,
           bool accumulate) {
  constexpr std::int64_t tile = MatrixUnit::tile;
  float* const below = c.data + tile * c.stride;
  if (accumulate) {
    _tile_loadd(0, c.data, bytes(c));
    if constexpr (two_cols) _tile_loadd(1, c.data + tile, bytes(c));
    if constexpr (two_rows) _tile_loadd(2, below, bytes(c));
    if constexpr (two_rows && two_cols) _tile_loadd(3, below + tile, bytes(c));
  } else {
    _tile_zero(0);
    if constexpr (two_cols) _tile_zero(1);
    if constexpr (two_rows) _tile_zero(2);
    if constexpr (two_rows && two_cols) _tile_zero(3);
  }
  for (std::int64_t g = 0; g < groups; g += tile) {
    std::uint32_t const* const row = b.data + g * b.stride;
    _tile_loadd(4, a.data + g, bytes(a));
    _tile_loadd(6, row, bytes(b));
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (two_cols) {
      _tile_loadd(7, row + tile, bytes(b));
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (two_rows) {
      _tile_loadd(5, a.data + tile * a.stride + g, bytes(a));
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (two_cols) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c.data, bytes(c));
  if constexpr (two_cols) _tile_stored(1, c.data + tile, bytes(c));
  if constexpr (two_rows) _tile_stored(2, below, bytes(c));
  if constexpr (two_rows && two_cols) _tile_stored(3, below + tile, bytes(c));
}

}  // namespace

MatrixUnit::MatrixUnit() : ready_(tiles_granted()) {
  if (ready_) _tile_loadconfig(&shapes);
}
MatrixUnit::~MatrixUnit() {
  if (ready_) _tile_release();
}
void MatrixUnit::multiply(std::int64_t m, std::int64_t n, std::int64_t groups, Matrix<std::uint32_t const> a,
                          Matrix<std::uint32_t const> b, Matrix<float> c, bool accumulate) const {
  asm volatile("" ::: "memory");  // tile loads do not say to the compiler what they read
  for (std::int64_t i = 0; i < m; i += 2 * tile)
    for (std::int64_t j = 0; j < n; j += 2 * tile) {
      Matrix<std::uint32_t const> const rows{a.data + i * a.stride, a.stride}, cols{b.data + j, b.stride};
      Matrix<float> const sums{c.data + i * c.stride + j, c.stride};
      bool const two_rows = m - i > tile, two_cols = n - j > tile;
      (two_rows   ? two_cols ? block<true, true> : block<true, false>
         : two_cols ? block<false, true>
                  : block<false, false>)(groups, rows, cols, sums, accumulate);
    }
}

#else

MatrixUnit::MatrixUnit() = default;
MatrixUnit::~MatrixUnit() = default;
void MatrixUnit::multiply(std::int64_t, std::int64_t, std::int64_t, Matrix<std::uint32_t const>,
                          Matrix<std::uint32_t const>, Matrix<float>, bool) const {}

#endif

}  // namespace selenite::attention_cpu
