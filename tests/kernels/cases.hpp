#pragma once
#include <boost/test/unit_test.hpp>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend.hpp"
#include "core/cpu.hpp"
#include "core/error.hpp"
#include "core/kernel.hpp"
#include "core/parallel_for.hpp"
#include "core/tensor.hpp"
#include "kernels/gemm/gemm.hpp"

/// One table of cases an op drives its three tests. Everything an op adds is a `make` that asks `Tensors` for its
/// arguments:
///
///   std::vector<Case<Cast>> cast_cases() {
///     return {{"ragged", [](Tensors& t, DType type) { return Cast{t.in(type, {33, 257}, strided), t.out(DType::fp32,
///     {33, 257}, strided)}; }},
///             {"124M weights", [](Tensors& t, DType type) { return Cast{t.in(DType::fp32, {124 << 20}), t.out(type,
///             {124 << 20})}; }, {.speed = true}}};
///   }
///   BOOST_AUTO_TEST_CASE(cast) { check(cast_cases()); }
///   BOOST_AUTO_TEST_CASE(cast_speed, *boost::unit_test::label("speed") * boost::unit_test::disabled()) {
///   measure(cast_cases()); }
///
/// `make` is called again for each run and must draw the same sequence. For the reference every floating tensor it asks
/// for is fp64 and holds the values rounded to the dtype that was asked for. Gradients: check_gradient below. Speed:
/// `<op>_test --run_test=@speed` prints the table of one op; the target `bench_kernels` runs all.
namespace selenite::test {

enum Rows {
  packed,
  strided
};  ///< strided: the op takes columns of a wider matrix here, so the case is run that way too
/// Value of element i.
using Values = std::function<double(std::int64_t)>;
/// Uniform values; each tensor of a Tensors draws others.
struct Uniform {
  double low = -1, high = 1;
};

/// The arguments of one run of one case: owned, guarded on all sides by NaN bytes, drawn deterministically.
class Tensors {
 public:
  enum Kind { rounded, doubles };  ///< doubles: fp64 in place of every floating dtype, for the reference
  explicit Tensors(Kind kind, Rows rows = packed) : kind_(kind), rows_(rows) {}

  Tensor in(DType type, Shape shape, Uniform range, Rows rows = packed);
  Tensor in(DType type, Shape shape, Rows rows = packed) { return in(type, shape, Uniform{}, rows); }
  Tensor in(DType type, Shape shape, Values const& values, Rows rows = packed);
  /// Whole numbers of [low, high).
  Tensor integers(DType type, Shape shape, std::int64_t low, std::int64_t high);
  /// Compared with the reference's. Filled with NaN before.
  Tensor out(DType type, Shape shape, Rows rows = packed);
  /// Drawn and compared: accumulation, in place.
  Tensor inout(DType type, Shape shape, Uniform range = {}, Rows rows = packed);
  /// May be written, is not compared.
  Tensor scratch(DType type, Shape shape, Rows rows = packed);

  bool asked_strided() const { return asked_strided_; }
  /// Remembers all bytes; `check_untouched` then fails the test if any byte outside of written tensors has changed.
  void freeze();
  void check_untouched() const;
  /// Fails the test where an output is not within tolerance of, or (same bits) differs from, the other's.
  void check_close(Tensors const& want, double sum_length, double roundings_inside, DType type) const;
  void check_same_bits(Tensors const& other) const;

 private:
  struct Free {
    std::size_t alignment;
    void operator()(std::byte* p) const;
  };
  enum Role { read, written, compared };
  struct Item {
    std::unique_ptr<std::byte[], Free> bytes;
    std::int64_t size = 0;
    std::vector<std::byte> frozen;
    Tensor tensor;
    DType asked = DType::fp32;
    Role role = read;
  };
  Tensor add(DType type, Shape shape, Rows rows, Role role);
  Tensor fill(Tensor const& x, DType type, Values const& values);
  Values drawn(Uniform range) const;

  Kind kind_;
  Rows rows_;
  bool asked_strided_ = false;
  std::vector<Item> items_;
};

struct Options {
  double sum_length = 1;        ///< terms of the longest fp32 sum behind an output: widens the tolerance
  double roundings_inside = 0;  ///< of intermediate values to the inputs' dtype, at most, behind an output
  bool speed = false;           ///< a large case, for `measure` only
  std::vector<DType> dtypes = {DType::fp32, DType::bf16, DType::fp16};
};

template <Kernel Op>
struct Case {
  std::string name;
  std::function<Op(Tensors&, DType)> make;
  Options options = {};
};

/// Rounding to a dtype is wrong by at most this, relatively.
double unit_roundoff(DType type);

/// Scratch of an exact size between guards, handed to a Cpu. The destructor fails the test if a guard was written.
class GuardedWorkspace {
 public:
  explicit GuardedWorkspace(std::int64_t bytes);
  ~GuardedWorkspace();
  std::span<std::byte> span() { return {bytes_.data() + offset_, static_cast<std::size_t>(size_)}; }

 private:
  std::vector<std::byte> bytes_;
  std::int64_t size_ = 0, offset_ = 0;
};

#ifdef __SANITIZE_ADDRESS__
constexpr bool every_combination = false;  ///< of teams and rows: under the sanitizers, ten times as slow, every other
#else
constexpr bool every_combination = true;
#endif

namespace detail {
void check_cost(Cost const& cost, double counted_flops);
/// What is timed, on the Backend: calls that may return before they are done, and what waits for them.
struct Runner {
  std::function<void()> run, finish;
  std::function<void(std::span<std::byte>, Gemm const&)> multiply;
  std::function<void(Tensor const& from, Tensor const& to)> copy;
  std::int64_t gemm_side = 0, copied = 0;  ///< of the products and copies (fp32 elements) that are the limits
};
/// Seconds of the best round.
double print_speed(std::string const& name, DType type, Cost const& cost, Runner const& runner);
}  // namespace detail

/// launch on the Backend against the reference, in every dtype, packed and strided, by teams of one and three, with
/// little and much scratch: within tolerance, the same bits twice, nothing written outside of outputs and scratch,
/// FLOPs as in cost().
template <Kernel Op>
void check(std::vector<Case<Op>> const& cases);

/// Seconds by the case's name and dtype: "causal s 512 d 64, bf16".
using Speeds = std::map<std::string, double>;
/// Runs the large cases on the Backend and prints ms, GB/s, GFLOP/s and the fraction of the copy bandwidth or the best
/// GEMM rate, measured alternately with them.
template <Kernel Op>
Speeds measure(std::vector<Case<Op>> const& cases);

/// A tensor and its gradient.
using Pairs = std::vector<std::pair<Tensor, Tensor>>;
/// `forward` computes outputs from inputs, `backward` then the inputs' gradients from the outputs', both in fp64 (a
/// Tensors of kind `doubles`). Each element of each gradient is compared with the central difference of sum(output *
/// its gradient).
void check_gradient(std::function<void()> const& forward, std::function<void()> const& backward, Pairs const& outputs,
                    Pairs const& inputs, double step = 1e-4, double tolerance = 1e-7);

template <Kernel Op>
void check_launch(Case<Op> const& c, DType type, Rows rows, std::int64_t budget) {
  Tensors want(Tensors::doubles, rows), got(Tensors::rounded, rows), again(Tensors::rounded, rows);
  reference(c.make(want, type));
  for (Tensors* t : {&got, &again}) {
    Op const op = c.make(*t, type);
    t->freeze();
    std::int64_t const bytes = workspace(op, budget);
    BOOST_CHECK_MESSAGE(bytes >= 0 && bytes <= budget, concat("workspace asks for ", bytes, " of ", budget, " bytes"));
    GuardedWorkspace scratch(bytes);
    double const flops = Backend::run(scratch.span(), op);
    t->check_untouched();
    detail::check_cost(cost(op), flops);
  }
  got.check_close(want, c.options.sum_length, c.options.roundings_inside, type);
  again.check_same_bits(got);
}

template <Kernel Op>
void check(std::vector<Case<Op>> const& cases) {
  bool turn = false;
  for (auto const& c : cases) {
    for (DType const type : c.options.dtypes) {
      if (c.options.speed) continue;
      Tensors probe(Tensors::rounded, strided);
      c.make(probe, type);
      turn = !turn;
      for (int const team : {1, 3}) {
        Backend::set_team(team);
        for (Rows const rows : {packed, strided}) {
          if (rows == strided && !probe.asked_strided()) continue;
          if (!every_combination && ((team == 3) != (rows == strided)) == turn) continue;
          std::int64_t const budget = team == 1 ? 1 << 20 : 64 << 20;
          BOOST_TEST_CONTEXT(c.name << ", " << name(type)
                                    << (rows == strided ? ", strided, team of " : ", packed, team of ") << team) {
            check_launch(c, type, rows, budget);
          }
        }
      }
      Backend::set_team(0);
    }
  }
}

template <Kernel Op>
Speeds measure(std::vector<Case<Op>> const& cases) {
  Speeds speeds;
  for (auto const& c : cases) {
    for (DType const type : c.options.dtypes) {
      if (!c.options.speed) continue;
      Tensors t(Tensors::rounded);
      Op const op = c.make(t, type);
      GuardedWorkspace scratch(workspace(op, std::int64_t{1} << 30));
      speeds[concat(c.name, ", ", name(type))] = detail::print_speed(
          c.name, type, cost(op),
          {[&] { Backend::start(scratch.span(), op); }, Backend::finish,
           [](std::span<std::byte> workspace, Gemm const& gemm) { Backend::start(workspace, gemm); }, Backend::copy,
           Backend::gemm_side, Backend::copied});
    }
  }
  return speeds;
}

}  // namespace selenite::test
