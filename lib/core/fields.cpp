#include "core/fields.hpp"

#include <array>

namespace selenite {
namespace {
using std::string_view;
constexpr std::array<string_view, 1> family_names{"gpt"};
constexpr std::array<string_view, 2> position_names{"learned", "rotary"};
constexpr std::array<string_view, 2> norm_names{"layernorm", "rmsnorm"};
constexpr std::array<string_view, 3> activation_names{"gelu", "gelu_erf", "swiglu"};
constexpr std::array<string_view, 2> attention_names{"flash", "matrix"};
constexpr std::array<string_view, 4> schedule_names{"1f1b", "interleaved", "zero_bubble", "zero_bubble_h2"};
constexpr std::array<string_view, 2> exchange_names{"ring", "gather"};
constexpr std::array<string_view, 4> precision_names{"fp32", "bf16", "fp16", "fp8"};
constexpr std::array<string_view, 3> recompute_names{"none", "selective", "full"};
constexpr std::array<string_view, 2> optimizer_names{"adamw", "sgd"};
constexpr std::array<string_view, 4> lr_names{"constant", "linear", "cosine", "inverse_sqrt"};
constexpr std::array<string_view, 3> decay_names{"constant", "linear", "cosine"};
constexpr std::array<string_view, 3> mask_names{"none", "eod", "parts"};
constexpr std::array<string_view, 2> backend_names{"cpu", "cuda"};
constexpr std::array<string_view, 4> library_names{"auto", "cudnn", "own", "own_sm80"};
constexpr std::array<string_view, 3> epilogue_names{"none", "gelu", "all"};
constexpr std::array<string_view, 5> comm_names{"auto", "self", "threads", "mpi", "nccl"};

template <class E, std::size_t N>
FieldValue choice(E& value, std::array<string_view, N> const& names) {
  return EnumRef{&value, names};
}
constexpr double big = 1e18;
constexpr double most_beta = 0.999999;  // with 1 the moments never move, and their correction divides by zero
}  // namespace

std::vector<Field> fields(ModelConfig& c) {
  return {{"preset", &c.preset, "a known model to start from; see --list-presets"},
          {"family", choice(c.family, family_names), "objective and architecture"},
          {"layers", &c.layers, "transformer layers", "", 1, 1e5},
          {"hidden", &c.hidden, "width of the residual stream", "features", 1, 1 << 24},
          {"heads", &c.heads, "attention heads", "", 1, 4096},
          {"kv_heads", &c.kv_heads, "key-value heads (grouped query attention); 0: as many as heads", "", 0, 4096},
          {"head_dim", &c.head_dim, "size of a head; 0: hidden / heads", "features", 0, 1024},
          {"ffn_hidden", &c.ffn_hidden, "width of the MLP; 0: 4 hidden, or 8/3 hidden in steps of 64 with swiglu",
           "features", 0, 1 << 26},
          {"vocab_size", &c.vocab_size, "tokens in the vocabulary", "tokens", 1, 1 << 30},
          {"vocab_multiple", &c.vocab_multiple,
           "the embedding is padded to a multiple of this; padding never takes part", "rows", 1, 1 << 20},
          {"sequence_length", &c.sequence_length, "length of a sample", "tokens", 1, (1 << 24) - 1},
          {"positions", choice(c.positions, position_names), "position encoding"},
          {"rotary_base", &c.rotary_base, "base of the rotary angles", "", 1, big},
          {"norm", choice(c.norm, norm_names), "normalization"},
          {"norm_eps", &c.norm_eps, "added to the variance", "", 0, 1},
          {"activation", choice(c.activation, activation_names), "of the MLP; gelu is the tanh form"},
          {"attention", choice(c.attention, attention_names),
           "flash never stores the score matrix; matrix is what the 2021 runs did"},
          {"bias", &c.bias, "biases in linear layers and LayerNorm"},
          {"tied_embeddings", &c.tied_embeddings, "the head shares the token embedding"},
          {"hidden_dropout", &c.hidden_dropout, "probability after embedding, attention and MLP", "", 0, 0.999},
          {"attention_dropout", &c.attention_dropout, "probability on the attention probabilities", "", 0, 0.999},
          {"init_std", &c.init_std, "standard deviation of initial weights", "", 0, 10}};
}

std::vector<Field> fields(LayoutConfig& c) {
  return {{"tensor", &c.tensor, "ranks that share each layer's matrices", "ranks", 1, 1 << 20},
          {"context", &c.context, "ranks that share each sample's sequence", "ranks", 1, 1 << 20},
          {"expert", &c.expert, "ranks that share the experts", "ranks", 1, 1 << 20},
          {"data", &c.data, "ranks that take different samples; 0: what is left of the world", "ranks", 0, 1 << 24},
          {"pipe", &c.pipe, "pipeline stages", "ranks", 1, 1 << 20},
          {"sequence_parallel", &c.sequence_parallel, "cut norms and dropouts by tokens over the tensor ranks"},
          {"context_exchange", choice(c.context_exchange, exchange_names),
           "how keys and values come to the context ranks: round the ring, or all gathered first"},
          {"schedule", choice(c.schedule, schedule_names), "order of forward and backward passes in the pipeline"},
          {"interleave", &c.interleave, "model chunks a stage", "", 1, 1024},
          {"interleave_group", &c.interleave_group,
           "micro-batches that go through a chunk before the next chunk's turn; 0: as many as stages", "", 0, 1 << 20},
          {"stages", &c.stages,
           "layers of each virtual stage, for example 3,4,4,3; auto: balanced by FLOPs; empty: as even as can be"},
          {"overlap", &c.overlap, "communication hidden behind computation: gradients, parameters, tensor"},
          {"split_p2p", &c.split_p2p, "pipeline messages are cut over the tensor ranks"},
          {"blocking_sends", &c.blocking_sends,
           "a stage waits until its message has arrived; for predictions of programs that do, can't be run"}};
}

std::vector<Field> fields(TrainConfig& c) {
  return {{"micro_batch", &c.micro_batch, "samples a pass", "samples", 1, 1 << 20},
          {"global_batch", &c.global_batch, "samples a step, over all data ranks", "samples", 1, 1 << 30},
          {"batch_ramp", &c.batch_ramp,
           "sample count:batch pairs, for example 0:16 1000:32, the last batch being global_batch; empty: none"},
          {"steps", &c.steps, "length of the training; 0: from samples", "steps", 0, 1e15},
          {"samples", &c.samples, "length of the training; 0: from steps", "samples", 0, 1e15},
          {"precision", choice(c.precision, precision_names),
           "of weights and activations; sums, master weights and moments are fp32. fp8: bf16, but for the matrix "
           "products of the blocks' linear layers (on the CPU emulated)"},
          {"fp8_history", &c.fp8_history, "largest magnitudes that an fp8 scale is made of, those of the last steps",
           "steps", 1, 1 << 16},
          {"fp8_margin", &c.fp8_margin, "powers of two that an fp8 scale keeps free above them", "", 0, 16},
          {"fp8_bf16_layers", &c.fp8_bf16_layers,
           "layers at each end of the model that stay in bf16 with precision = fp8", "layers", 0, 1 << 20},
          {"gradient_reduce", choice(c.gradient_reduce, precision_names),
           "of gradients as they go between ranks; they are accumulated, and sums are made, in fp32"},
          {"recompute", choice(c.recompute, recompute_names),
           "activations made again in backward: none; selective, all that costs no GEMM; full, whole layers"},
          {"recompute_layers", &c.recompute_layers, "layers between kept activations with recompute = full", "layers",
           1, 1e6},
          {"optimizer_sharding", &c.optimizer_sharding, "0 none, 1 optimizer state, 2 and gradients, 3 and parameters",
           "", 0, 3},
          {"bucket_bytes", &c.bucket_bytes, "gradients reduced at once", "bytes", 1024, big},
          {"loss_scale", &c.loss_scale, "of gradients; 0: dynamic with fp16, else 1", "", 0, 1e30},
          {"loss_scale_initial", &c.loss_scale_initial, "dynamic scale at the start", "", 1, 1e30},
          {"loss_scale_window", &c.loss_scale_window, "steps without overflow until the dynamic scale is doubled",
           "steps", 1, big},
          {"loss_scale_hysteresis", &c.loss_scale_hysteresis,
           "overflows until the dynamic scale is halved; those after it halve it at once", "steps", 1, big},
          {"deterministic", &c.deterministic, "same bits every time"},
          {"optimizer", choice(c.optimizer, optimizer_names), "adamw, or sgd for tests"},
          {"lr", &c.lr, "highest learning rate", "", 0, 1e6},
          {"min_lr", &c.min_lr, "learning rate after the decay", "", 0, 1e6},
          {"lr_schedule", choice(c.lr_schedule, lr_names), "from lr to min_lr"},
          {"warmup", &c.warmup, "linear rise of the learning rate", "samples", 0, big},
          {"lr_decay", &c.lr_decay, "min_lr is reached here; 0: at the end", "samples", 0, big},
          {"weight_decay", &c.weight_decay, "on matrices, not on biases and norms", "", 0, 1e6},
          {"weight_decay_end", &c.weight_decay_end, "at the end; negative: as at the start", "", -1, 1e6},
          {"weight_decay_schedule", choice(c.weight_decay_schedule, decay_names), "between the two"},
          {"beta1", &c.beta1, "AdamW", "", 0, most_beta},
          {"beta2", &c.beta2, "AdamW", "", 0, most_beta},
          {"eps", &c.eps, "AdamW", "", 0, 1},
          {"clip", &c.clip, "largest gradient norm; 0: off", "", 0, 1e30},
          {"seed", &c.seed, "of weights, dropout and data order", "", 0, 4294967295.0},
          {"valid_every", &c.valid_every, "steps between validations; 0: none", "steps", 0, big},
          {"valid_batches", &c.valid_batches, "global batches a validation", "", 1, big}};
}

std::vector<Field> fields(DataConfig& c) {
  return {{"train", &c.train, "prefixes of .bin and .idx, or weight,prefix,weight,prefix"},
          {"valid", &c.valid, "as train; empty: cut from train by split"},
          {"test", &c.test, "as train; empty: cut from train by split"},
          {"split", &c.split, "parts of train for training, validation and test"},
          {"tokenizer", &c.tokenizer, "folder, vocab.json, tokenizer.json, SentencePiece .model, or bytes"},
          {"cache", &c.cache, "folder of index files; empty: cache in run.folder"},
          {"document_mask", choice(c.document_mask, mask_names),
           "attention stays in its document: cut at end-of-document tokens or at document parts"},
          {"reset_positions", &c.reset_positions, "positions count from the document's start"},
          {"eod_mask_loss", &c.eod_mask_loss, "no loss on end-of-document inputs"}};
}

std::vector<Field> fields(CheckpointConfig& c) {
  return {{"folder", &c.folder, "where; empty: checkpoints in run.folder"},
          {"every", &c.every, "steps between saves; 0: none on the way", "steps", 0, big},
          {"keep", &c.keep, "newest checkpoints kept; 0: all", "", 0, big},
          {"resume", &c.resume,
           "go on from the newest whole checkpoint; false: begin anew, in a folder without checkpoints"},
          {"save_at_end", &c.save_at_end, "save after the last step"},
          {"asynchronous", &c.asynchronous, "write while training goes on"},
          {"load", &c.load, "a checkpoint whose weights to start from"}};
}

std::vector<Field> fields(LogConfig& c) {
  return {{"every", &c.every, "steps between lines in the log", "steps", 1, big},
          {"tensorboard", &c.tensorboard, "write TensorBoard event files"},
          {"metrics", &c.metrics, "write metrics.jsonl"},
          {"trace", &c.trace, "write a timeline for chrome://tracing or Perfetto to this file; empty: none"},
          {"trace_steps", &c.trace_steps, "first steps of the run that it shows", "steps", 1, 1 << 20}};
}

std::vector<Field> fields(RunConfig& c) {
  return {
      {"folder", &c.folder, "everything the run writes goes here"},
      {"backend", choice(c.backend, backend_names), "what computes"},
      {"comm", choice(c.comm, comm_names), "what communicates; auto: mpi or nccl where there are several ranks"},
      {"threads", &c.threads, "a rank; 0: all that the affinity mask allows", "", 0, 4096},
      {"workspace", &c.workspace, "scratch that a kernel may use; 0: 32 MiB, with backend = cuda 1 GiB", "bytes", 0,
       big},
      {"attention_library", choice(c.attention_library, library_names),
       "of flash attention with backend = cuda: auto, cudnn where it can and our kernels elsewhere; cudnn, or an "
       "error; own; own_sm80, of our kernels those that every device since Ampere has"},
      {"fused_epilogues", choice(c.fused_epilogues, epilogue_names),
       "what the products of linear layers make besides with backend = cuda: none; gelu and its backward pass; all: "
       "biases' gradients, too, where operands have more than 8 bits"},
      {"cuda_graphs", &c.cuda_graphs,
       "with backend = cuda: a pass that comes again is launched as one CUDA graph; not where tensor or context "
       "ranks exchange in it, nor in steps whose time is taken (each log.every-th)"},
      {"watchdog", &c.watchdog, "a step or collective that takes longer ends the job with code 75; 0: off", "s", 0,
       1e9}};
}

std::vector<Field> fields(MachineConfig& c) {
  return {{"name", &c.name, "a file in scaling/machines, a path, or auto: measured at start"}};
}

std::vector<Section> sections(Config& c) {
  return {{"model", fields(c.model)}, {"layout", fields(c.layout)},         {"train", fields(c.train)},
          {"data", fields(c.data)},   {"checkpoint", fields(c.checkpoint)}, {"log", fields(c.log)},
          {"run", fields(c.run)},     {"machine", fields(c.machine)}};
}

}  // namespace selenite
