#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/attention_library.hpp"
#include "core/dtype.hpp"

namespace selenite {

enum class Family : std::uint8_t { gpt };
enum class Positions : std::uint8_t { learned, rotary };
enum class NormKind : std::uint8_t { layernorm, rmsnorm };
enum class ActivationName : std::uint8_t { gelu, gelu_erf, swiglu };
enum class AttentionPath : std::uint8_t { flash, matrix };
enum class ScheduleKind : std::uint8_t { one_f_one_b, interleaved, zero_bubble, zero_bubble_h2 };
enum class Precision : std::uint8_t { fp32, bf16, fp16, fp8 };
enum class ContextExchange : std::uint8_t { ring, gather };
enum class Recompute : std::uint8_t { none, selective, full };
enum class OptimizerKind : std::uint8_t { adamw, sgd };
enum class LrSchedule : std::uint8_t { constant, linear, cosine, inverse_sqrt };
enum class DecaySchedule : std::uint8_t { constant, linear, cosine };
enum class DocumentMask : std::uint8_t { none, eod, parts };
enum class BackendKind : std::uint8_t { cpu, cuda };
enum class CommKind : std::uint8_t { automatic, self, threads, mpi, nccl };

/// The transformer. Zero for a size means: derived from the others by resolve().
struct ModelConfig {
  std::string preset;
  Family family = Family::gpt;
  std::int64_t layers = 12, hidden = 768, heads = 12, kv_heads = 0, head_dim = 0, ffn_hidden = 0;
  std::int64_t vocab_size = 50257, vocab_multiple = 128, sequence_length = 1024;
  Positions positions = Positions::learned;
  double rotary_base = 10000;
  NormKind norm = NormKind::layernorm;
  double norm_eps = 1e-5;
  ActivationName activation = ActivationName::gelu;
  AttentionPath attention = AttentionPath::flash;
  bool bias = true, tied_embeddings = true;
  double hidden_dropout = 0, attention_dropout = 0, init_std = 0.02;

  /// Rows of the embedding: vocab_size rounded up to vocab_multiple, whatever the layout.
  std::int64_t padded_vocab() const { return (vocab_size + vocab_multiple - 1) / vocab_multiple * vocab_multiple; }
  bool operator==(ModelConfig const&) const = default;
};

struct LayoutConfig {
  std::int64_t tensor = 1, context = 1, expert = 1, data = 0, pipe = 1;  ///< data = 0: what is left of the world
  bool sequence_parallel = false;
  ContextExchange context_exchange = ContextExchange::ring;
  ScheduleKind schedule = ScheduleKind::one_f_one_b;
  std::int64_t interleave = 1, interleave_group = 0;  ///< group = 0: as many micro-batches as stages
  std::string stages;
  std::vector<std::string> overlap;
  bool split_p2p = true, blocking_sends = false;
  bool operator==(LayoutConfig const&) const = default;
};

struct TrainConfig {
  std::int64_t micro_batch = 1, global_batch = 8;
  std::string batch_ramp;
  std::int64_t steps = 0, samples = 0;  ///< one of the two; resolve() sets both
  Precision precision = Precision::bf16;
  Precision gradient_reduce = Precision::fp32;
  std::int64_t fp8_history = 16, fp8_margin = 0, fp8_bf16_layers = 0;
  Recompute recompute = Recompute::none;
  std::int64_t recompute_layers = 1;
  std::int64_t optimizer_sharding = 0;
  std::int64_t bucket_bytes = 64 << 20;
  double loss_scale = 0;  ///< 0: dynamic for fp16, 1 otherwise
  double loss_scale_initial = 4294967296.0;
  std::int64_t loss_scale_window = 1000, loss_scale_hysteresis = 2;
  bool deterministic = true;
  OptimizerKind optimizer = OptimizerKind::adamw;
  double lr = 3e-4, min_lr = 3e-5;
  LrSchedule lr_schedule = LrSchedule::cosine;
  std::int64_t warmup = 0, lr_decay = 0;             ///< in samples; lr_decay = 0: the whole training
  double weight_decay = 0.1, weight_decay_end = -1;  ///< end < 0: as at the start
  DecaySchedule weight_decay_schedule = DecaySchedule::constant;
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, clip = 1.0;
  std::int64_t seed = 1234;
  std::int64_t valid_every = 0, valid_batches = 10;
  bool operator==(TrainConfig const&) const = default;
};

struct DataConfig {
  std::vector<std::string> train, valid, test;  ///< prefixes, or weight, prefix, weight, prefix...
  std::string split = "969,30,1";               ///< used where valid and test are empty
  std::string tokenizer;
  std::string cache;
  DocumentMask document_mask = DocumentMask::none;
  bool reset_positions = false, eod_mask_loss = false;
  bool operator==(DataConfig const&) const = default;
};

struct CheckpointConfig {
  std::string folder;  ///< empty: checkpoints in run.folder
  std::int64_t every = 0, keep = 2;
  bool resume = true, save_at_end = true, asynchronous = true;
  std::string load;  ///< start from this checkpoint's weights if there is nothing to resume
  bool operator==(CheckpointConfig const&) const = default;
};

struct LogConfig {
  std::int64_t every = 10;
  bool tensorboard = true, metrics = true;
  std::string trace;
  std::int64_t trace_steps = 5;
  bool operator==(LogConfig const&) const = default;
};

/// What the products of linear layers make besides (Gemm::epilogue), which spares a pass over memory each: nothing; GELU
/// and its backward pass; biases' gradients as well. They know an activation before it is rounded; what recomputation
/// makes again, from rounded inputs, differs from that by a rounding.
enum class Epilogues : std::uint8_t { none, gelu, all };

struct RunConfig {
  std::string folder = "run";
  BackendKind backend = BackendKind::cpu;
  CommKind comm = CommKind::automatic;
  std::int64_t threads = 0;    ///< a rank; 0: all the affinity mask allows
  std::int64_t workspace = 0;  ///< bytes of scratch that kernels may use; 0: as resolve() finds right
  AttentionLibrary attention_library = AttentionLibrary::automatic;
  Epilogues fused_epilogues = Epilogues::gelu;
  bool cuda_graphs = false;  ///< passes that come again are launched as a whole
  double watchdog = 600;     ///< seconds; 0: off
  bool operator==(RunConfig const&) const = default;
};

struct MachineConfig {
  std::string name = "auto";  ///< a file in scaling/machines, a path, or auto: measured at start
  bool operator==(MachineConfig const&) const = default;
};

/// Everything a run is told; plain values, immutable after resolve().
struct Config {
  ModelConfig model;
  LayoutConfig layout;
  TrainConfig train;
  DataConfig data;
  CheckpointConfig checkpoint;
  LogConfig log;
  RunConfig run;
  MachineConfig machine;
  bool operator==(Config const&) const = default;
};

/// A config from a TOML file (may be empty: defaults) and `--set` texts "section.key=value". Order: struct defaults,
/// preset, file, settings. Unknown keys, wrong types and values out of range are errors that name the nearest known
/// key.
Config load_config(std::string const& file, std::vector<std::string> const& settings);
/// The same from TOML text; `origin` names it in errors.
Config parse_config(std::string const& toml, std::vector<std::string> const& settings, std::string const& origin);

/// Fills what is derived (head_dim, ffn_hidden, data ranks, steps, samples) for a world of ranks and checks that all
/// fits together. Throws Error with the reason and the nearest that works.
Config resolve(Config config, std::int64_t world);

/// Of weights and activations.
DType compute_dtype(Precision precision);
/// Micro-batches that each data rank of a resolved config takes in a step of `global_batch` samples.
inline std::int64_t micro_batches(Config const& config, std::int64_t global_batch) {
  return global_batch / (config.train.micro_batch * config.layout.data);
}

/// As TOML: ordered sections, every field, units as comments. parse_config reads it back to an equal Config.
std::string to_toml(Config const& config);
/// Changes one field, as --set does.
void set_field(Config& config, std::string const& setting);
/// All fields with meaning, unit and default, for --help.
std::string describe_fields();
/// The text of one field ("layout.tensor" -> "8"), for reports. Throws if there is no such field.
std::string get_field(Config const& config, std::string const& name);

/// Names of the presets, and the model a preset stands for.
std::vector<std::string> preset_names();
ModelConfig preset(std::string const& name);

}  // namespace selenite
