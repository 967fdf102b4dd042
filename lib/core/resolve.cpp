#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numeric>
#include <string_view>

#include "core/batch_ramp.hpp"
#include "core/error.hpp"

namespace selenite {
namespace {

/// "Use 4 or 5.", of what is above 0 and not the same.
std::string either(std::int64_t below, std::int64_t above) {
  return below == above || below == 0 ? concat("Use ", above, ".") : concat("Use ", below, " or ", above, ".");
}

/// The divisors of n next to `wanted`, for advice: "Use 4 or 5."
std::string nearest_divisors(std::int64_t n, std::int64_t wanted) {
  std::int64_t below = 1, above = n;
  for (std::int64_t d = 1; d <= n; ++d) {
    if (n % d) continue;
    if (d <= wanted) below = d;
    if (d > wanted) {
      above = d;
      break;
    }
  }
  return either(below, above);
}

void divides(std::int64_t divisor, std::string_view divisor_name, std::int64_t n, std::string_view n_name,
             std::string_view why) {
  validate(n % divisor == 0, divisor_name, " = ", divisor, " does not divide ", n_name, " = ", n, " (", why, "). ",
           nearest_divisors(n, divisor));
}

/// The product of sizes, refused before it leaves 64 bits.
std::int64_t product(std::initializer_list<std::int64_t> sizes, double limit, std::string_view what,
                     std::string_view advice) {
  std::int64_t whole = 1;
  double rough = 1;
  for (std::int64_t s : sizes) {
    rough *= static_cast<double>(s);
    validate(rough <= limit, what, " is more than ", limit, " (no machine has room or time for it). ", advice);
    whole *= s;
  }
  return whole;
}

/// Sums of bytes must stay within 64 bits, whatever is asked for.
void refuse_impossible(Config const& c) {
  ModelConfig const& m = c.model;
  auto const heads = static_cast<double>(m.heads), width = heads * static_cast<double>(m.head_dim),
             hidden = static_cast<double>(m.hidden), ffn = static_cast<double>(m.ffn_hidden);
  auto const layers = static_cast<double>(m.layers), vocab = static_cast<double>(m.padded_vocab()),
             length = static_cast<double>(m.sequence_length);
  double const weights = layers * hidden * (4 * width + 3 * ffn) + hidden * (2 * vocab + length);
  validate(weights < 1e15, "The model has about ", weights,
           " parameters (no machine has room for it). Lower model.layers, hidden, ffn_hidden or vocab_size.");
  double const tokens = static_cast<double>(c.train.micro_batch) * length,
               scores = m.attention == AttentionPath::matrix ? 2 * heads * length : 0;
  double const values = tokens * (layers * (8 * hidden + 4 * width + 4 * ffn + scores) + vocab);
  validate(values < 1e16, "A micro-batch has about ", values,
           " activations (no machine has room for it). Lower train.micro_batch, model.sequence_length or the model's "
           "sizes.");
}

void resolve_model(ModelConfig& m) {
  if (m.head_dim == 0) {
    divides(m.heads, "model.heads", m.hidden, "model.hidden", "every head gets an equal share of the width");
    m.head_dim = m.hidden / m.heads;
  }
  if (m.kv_heads == 0) m.kv_heads = m.heads;
  divides(m.kv_heads, "model.kv_heads", m.heads, "model.heads", "query heads share key-value heads evenly");
  if (m.ffn_hidden == 0)
    m.ffn_hidden = m.activation == ActivationName::swiglu ? m.hidden * 4 * 2 / 3 / 64 * 64 : 4 * m.hidden;
  if (m.activation == ActivationName::swiglu && m.ffn_hidden == 0) m.ffn_hidden = 64;
  validate(m.positions != Positions::rotary || m.head_dim % 2 == 0, "model.head_dim = ", m.head_dim,
           " is odd (rotary positions turn pairs of features). Use an even head size.");
}

void resolve_layout(Config& c, std::int64_t world) {
  auto& l = c.layout;
  auto const& m = c.model;
  constexpr double most_ranks = 1e12;
  std::int64_t const others = product({l.tensor, l.context, l.expert, l.pipe}, most_ranks,
                                      "layout.tensor x context x expert x pipe", "Use a smaller layout.");
  product({others, std::max<std::int64_t>(l.data, 1)}, most_ranks, "The number of ranks in the layout",
          "Use a smaller layout.");
  if (l.data == 0) {
    divides(others, "layout.tensor x context x expert x pipe", world, "the number of ranks",
            "the rest is data parallel");
    l.data = world / others;
  }
  validate(others * l.data == world, "The layout has ", others * l.data, " ranks but the job has ", world,
           " (world = tensor x context x expert x data x pipe). Start ", others * l.data,
           " ranks, or set layout.data = 0 to take what is left.");
  divides(l.tensor, "layout.tensor", m.heads, "model.heads", "each rank needs whole heads");
  validate(m.kv_heads % l.tensor == 0 || l.tensor % m.kv_heads == 0, "layout.tensor = ", l.tensor,
           " and model.kv_heads = ", m.kv_heads,
           " do not divide each other (key-value heads are cut or copied evenly). Use a tensor size that does.");
  divides(l.tensor, "layout.tensor", m.ffn_hidden, "model.ffn_hidden", "each rank needs an equal share of the MLP");
  std::int64_t const multiple = std::lcm(m.vocab_multiple, l.tensor);
  validate(m.padded_vocab() % l.tensor == 0, "layout.tensor = ", l.tensor,
           " does not divide the padded vocabulary = ", m.padded_vocab(),
           " (each rank needs an equal share of the embedding). Set model.vocab_multiple = ",
           multiple <= 1 << 20 ? multiple : l.tensor, "; any checkpoint loads then, too.");
  divides(2 * l.context, "2 x layout.context", l.context == 1 ? 2 : m.sequence_length, "model.sequence_length",
          "the sequence is cut into zig-zag chunks");
  if (l.tensor == 1) l.sequence_parallel = false;
  std::int64_t const tokens = c.train.micro_batch * m.sequence_length / l.context;
  if (l.sequence_parallel)
    divides(l.tensor, "layout.tensor", tokens,
            "a micro-batch's tokens on a rank (micro_batch x sequence_length / context)",
            "sequence parallelism gives each tensor rank an equal run of them");
  validate(l.context == 1 || m.attention == AttentionPath::flash,
           "model.attention = \"matrix\" does not work with layout.context = ", l.context,
           " (only flash attention can merge what the ranks find). Use flash, or layout.context = 1.");
  validate(l.interleave == 1 || l.pipe > 1, "layout.interleave = ", l.interleave,
           " needs a pipeline (a single stage has no bubble to fill). Use layout.interleave = 1.");
  bool const zero_bubble = l.schedule == ScheduleKind::zero_bubble || l.schedule == ScheduleKind::zero_bubble_h2;
  validate(l.interleave == 1 || !zero_bubble, "layout.interleave = ", l.interleave,
           " does not work with the zero-bubble schedules (they have one chunk a stage). Use 1f1b or interleaved.");
  validate(!zero_bubble || c.train.recompute != Recompute::full,
           "train.recompute = \"full\" does not work with the zero-bubble schedules (weight gradients come later and "
           "need what would be thrown away). Use another layout.schedule, or no recomputation.");
  validate(!zero_bubble || c.train.optimizer_sharding < 2, "train.optimizer_sharding = ", c.train.optimizer_sharding,
           " does not work with the zero-bubble schedules (a weight's gradients come long after the input's, and a "
           "bucket can't wait). Use 1, or another layout.schedule.");
  validate(m.layers >= l.pipe * l.interleave, "layout.pipe x interleave = ", l.pipe * l.interleave,
           " is more than model.layers = ", m.layers,
           " (every model chunk needs a layer). Use fewer stages or chunks.");
}

void resolve_train(Config& c) {
  auto& t = c.train;
  std::int64_t const per_pass =
      product({t.micro_batch, c.layout.data}, 1e18, "train.micro_batch x data ranks", "Use a smaller micro-batch.");
  BatchRamp const ramp(t);
  for (std::int64_t const batch : ramp.batches())
    validate(batch % per_pass == 0, t.batch_ramp.empty() ? "train.global_batch = " : "train.batch_ramp has a batch of ",
             batch, ", which is not a multiple of micro_batch x data ranks = ", t.micro_batch, " x ", c.layout.data,
             " = ", per_pass, " (every data rank takes whole micro-batches). ",
             either(batch / per_pass * per_pass, (batch / per_pass + 1) * per_pass));
  product({t.steps, std::ranges::max(ramp.batches())}, 1e18, "train.steps x global_batch", "Use fewer steps.");
  std::int64_t const wanted = ramp.samples(t.steps);
  validate(t.steps == 0 || t.samples == 0 || t.samples == wanted, "train.steps = ", t.steps,
           " and train.samples = ", t.samples, " disagree (so many steps take ", wanted,
           " samples). Give one of the two.");
  if (t.steps == 0) t.steps = ramp.steps(t.samples);
  t.samples = ramp.samples(t.steps);
  if (t.lr_decay == 0) t.lr_decay = std::max<std::int64_t>(t.samples, 1);
  if (t.weight_decay_end < 0) t.weight_decay_end = t.weight_decay;
  validate(t.min_lr <= t.lr, "train.min_lr = ", t.min_lr, " is above train.lr = ", t.lr,
           " (the rate falls from lr to min_lr). Lower min_lr.");
  if (t.loss_scale == 0 && t.precision != Precision::fp16) t.loss_scale = 1;
}

/// What 8-bit products ask of the config.
void resolve_fp8(Config const& c) {
  if (c.train.precision != Precision::fp8) return;
  ModelConfig const& m = c.model;
  validate(2 * c.train.fp8_bf16_layers < m.layers, "train.fp8_bf16_layers = ", c.train.fp8_bf16_layers,
           " leaves none of ", m.layers,
           " layers in fp8 (it counts at each end). Use less, or train.precision = bf16.");
  if (c.run.backend != BackendKind::cuda) return;
  std::int64_t const tensor = c.layout.tensor, kv_parts = std::min(tensor, m.kv_heads);
  struct {
    char const* what;
    std::int64_t size;
  } const sizes[] = {
      {"model.hidden", m.hidden},
      {"a rank's part of model.ffn_hidden", m.ffn_hidden / tensor},
      {"a rank's width of attention heads", m.heads * m.head_dim / tensor},
      {"a rank's width of q, k and v", m.heads * m.head_dim / tensor + 2 * m.kv_heads * m.head_dim / kv_parts},
      {"the tokens of a micro-batch on a rank", c.train.micro_batch * m.sequence_length / c.layout.context}};
  for (auto const& [what, size] : sizes)
    validate(size % 16 == 0, "With train.precision = \"fp8\" ", what, " is ", size,
             ", not a multiple of 16 (tensor cores take 8-bit operands by 16 elements). Choose one that is, or bf16.");
}

/// What the configuration can say but this version does not do yet is refused here, in one place, never ignored.
void refuse_missing(Config const& c) {
  auto const& l = c.layout;
  validate(l.expert == 1, "layout.expert = ", l.expert, " can't be run (this version has no experts). Use 1.");
  validate(
      c.train.gradient_reduce != Precision::fp8,
      "train.gradient_reduce = \"fp8\" can't be run (gradients are reduced in fp32, bf16 or fp16). Use one of these.");
  validate(c.train.optimizer_sharding <= 2,
           "train.optimizer_sharding = 3 can't be run (this version keeps the weights whole on every rank). Use 2.");
  for (std::string const& what : l.overlap)
    validate(what == "gradients" || what == "parameters" || what == "tensor", "layout.overlap = \"", what,
             "\" is not known (gradients, parameters and the tensor ranks' sums can go on beside computation; messages "
             "between stages always do). Leave it out.");
}

/// cuDNN's backward pass of attention with sums in a fixed order keeps dP of some heads; ours and other libraries are
/// content with little.
void resolve_run(RunConfig& run) {
  if (run.workspace == 0) run.workspace = run.backend == BackendKind::cuda ? 1 << 30 : 32 << 20;
}

}  // namespace

Config resolve(Config config, std::int64_t world) {
  resolve_model(config.model);
  resolve_layout(config, world);
  resolve_train(config);
  resolve_fp8(config);
  resolve_run(config.run);
  refuse_impossible(config);
  refuse_missing(config);
  return config;
}

DType compute_dtype(Precision precision) {
  return precision == Precision::fp32 ? DType::fp32 : precision == Precision::fp16 ? DType::fp16 : DType::bf16;
}

}  // namespace selenite
