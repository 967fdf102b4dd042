#include "train/fp8.hpp"

#include <cmath>
#include <utility>

#include "kernels/quantize/quantize.hpp"
#include "model/gpt.hpp"
#include "train/stage.hpp"

namespace selenite {
namespace {

/// The ranks that hold parts or copies of a stage's tensors.
constexpr AxisSet sharing{Axis::tensor, Axis::context, Axis::expert, Axis::data};

enum class Part : std::uint8_t { inputs, gradients, weights };

std::int64_t count(Fp8State const& state) { return std::ssize(state.sites); }
/// Of an array of all sites, the elements of one part, or of one site in it.
Tensor elements_of(Tensor const& array, std::int64_t first, std::int64_t count) {
  return array.shape().rank() == 1 ? run_of(array, first, count) : array.row_range(first, count);
}
Tensor part_of(Fp8State const& state, Tensor const& array, Part part) {
  return elements_of(array, static_cast<std::int64_t>(part) * count(state), count(state));
}
Tensor element_of(Fp8State const& state, Tensor const& array, Part part, std::size_t site) {
  return elements_of(array, static_cast<std::int64_t>(part) * count(state) + static_cast<std::int64_t>(site), 1);
}

/// The local shape of the matrix of several parameters.
Shape shape_of(StageState const& stage, Fp8Site const& site) {
  Shape shape = box_of(stage.parameters()[site.first]->spec, stage.grid(), stage.rank()).count;
  for (std::size_t i = site.first + 1; i < site.last; ++i)
    shape[0] += box_of(stage.parameters()[i]->spec, stage.grid(), stage.rank()).count[0];
  return shape;
}

/// Scales before there is a history. What a norm or an activation gives is of the order of 1, and e4m3 is exact to 2^-6
/// below and saturates at 448: 2^4 leaves room on both sides. A token's gradient is of the order of the seed of
/// backward, wherever it is between 2^-18 and 2^11 of it e5m2 has it.
constexpr double first_input_scale = 16;
double first_gradient_scale(Config const& c) {
  double const seed = (c.train.loss_scale > 0 ? c.train.loss_scale : 1) /
                      (static_cast<double>(c.train.global_batch) * static_cast<double>(c.model.sequence_length));
  return std::exp2(std::floor(std::log2(16 / seed)));
}

UpdateScales update(StageState const& stage, Part part, bool push) {
  Fp8State const& f = stage.fp8;
  bool const gradients = part == Part::gradients;
  return {.amax = part_of(f, f.amax, part),
          .history = part == Part::weights ? f.weight_history : f.history.row_range(gradients ? count(f) : 0, count(f)),
          .scale = part_of(f, f.scale, part),
          .inverse = part_of(f, f.inverse, part),
          .largest = gradients ? e5m2::largest : e4m3::largest,
          .initial = gradients ? first_gradient_scale(stage.config()) : first_input_scale,
          .margin = part == Part::weights ? 0 : stage.config().train.fp8_margin,
          .push = push};
}

void make_scales(Ctx& ctx, StageState& stage, bool push) {
  Fp8State const& f = stage.fp8;
  if (!f.used()) return;
  for (std::size_t s = 0; s < f.sites.size(); ++s)
    for (std::size_t i = f.sites[s].first; i < f.sites[s].last; ++i)
      for (OwnedRun const& run : stage.layout().owned({stage.layout().parameter(i)}))
        ctx(AbsMax{.x = stage.owned(stage.weights, run), .amax = element_of(f, f.amax, Part::weights, s)});
  ctx(AllReduce{.data = f.amax, .group = sharing, .reduction = Reduction::max});
  ctx(update(stage, Part::inputs, push));
  ctx(update(stage, Part::gradients, push));
  ctx(update(stage, Part::weights, true));
}

}  // namespace

std::vector<Fp8Site> fp8_sites(Config const& config, GptChunk& chunk, std::size_t first) {
  std::vector<Fp8Site> sites;
  if (config.train.precision != Precision::fp8) return sites;
  ParameterList const parameters = chunk.parameters();
  for (std::int64_t block = 0; block < chunk.spec().count; ++block) {
    std::int64_t const layer = chunk.spec().first + block, edge = config.train.fp8_bf16_layers;
    if (layer < edge || layer >= config.model.layers - edge) continue;
    std::size_t const end = chunk.starts()[static_cast<std::size_t>(block) + 1];
    for (std::size_t i = chunk.starts()[static_cast<std::size_t>(block)]; i < end; ++i) {
      if (parameters[i]->fp8) sites.push_back({parameters[i]->fp8, first + i, first + i + 1});
      // what follows belongs to the matrix as long as it is part of one (biases lie side by side, too)
      bool const continues = !parameters[i]->fp8 && parameters[i]->spec.beside_previous && !sites.empty() &&
                             sites.back().last == first + i;
      if (continues) ++sites.back().last;
    }
  }
  return sites;
}

void lay_out_fp8(Fp8State& f, StageState const& stage, Arena& arena) {
  if (!f.used()) return;
  std::int64_t const sites = count(f);
  for (Tensor* t : {&f.amax, &f.scale}) *t = arena.allocate(DType::fp32, {3 * sites});
  f.inverse = arena.allocate(DType::fp32, {3 * sites, 4}).columns(0, 1);
  f.history = arena.allocate(DType::fp32, {2 * sites, stage.config().train.fp8_history});
  f.weight_history = arena.allocate(DType::fp32, {sites, 1});
  for (std::size_t s = 0; s < f.sites.size(); ++s) {
    auto const scale = [&](Part part) -> Fp8Scale {
      return {element_of(f, f.scale, part, s), element_of(f, f.inverse, part, s), element_of(f, f.amax, part, s)};
    };
    Shape const shape = shape_of(stage, f.sites[s]);
    *f.sites[s].matrix = {.input = scale(Part::inputs),
                          .gradient = scale(Part::gradients),
                          .weight = scale(Part::weights),
                          .rounded = arena.allocate(DType::e4m3, shape),
                          .transposed = arena.allocate(DType::e4m3, {shape[1], shape[0]})};
  }
}

void update_scales(Ctx& ctx, StageState& stage) { make_scales(ctx, stage, true); }
void restore_scales(Ctx& ctx, StageState& stage) { make_scales(ctx, stage, false); }

void round_weights(Ctx& ctx, StageState& stage, std::size_t b) {
  Bucket const& bucket = stage.layout().buckets[b];
  if (!std::exchange(stage.buckets[b].changed, false)) return;
  for (Fp8Site const& site : stage.fp8.sites) {
    if (site.first < bucket.first || site.first >= bucket.last) continue;
    Tensor const& first = stage.parameters()[site.first]->weight;
    Fp8Matrix const& m = *site.matrix;
    ctx(Quantize{.x = Tensor(first.raw(), first.dtype(), m.rounded.shape(), first.device()),
                 .y = m.rounded,
                 .transposed = m.transposed,
                 .scale = m.weight.scale});
  }
}

std::vector<Fp8Row> fp8_history_rows(StageState const& stage) {
  Fp8State const& f = stage.fp8;
  std::vector<Fp8Row> rows;
  for (std::int64_t row = 0; row < 2 * count(f); ++row) {
    Fp8Site const& site = f.sites[static_cast<std::size_t>(row % count(f))];
    rows.push_back({stage.parameters()[site.first]->spec.name + (row < count(f) ? ".input" : ".gradient"),
                    f.history.row_range(row, 1).reshaped({f.history.cols()})});
  }
  return rows;
}

void require_products(Precision precision, CudaDevice const& device) {
  validate(
      precision != Precision::fp8 || 10 * device.major + device.minor >= 89,
      "train.precision = \"fp8\" can't be run on this device (8-bit matrix products need compute capability 8.9, it "
      "has ",
      device.major, ".", device.minor, "). Use bf16, or a device from Ada or Hopper on.");
}

}  // namespace selenite
