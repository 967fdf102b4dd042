#include "run/evaluate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/files.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "data/indexed.hpp"
#include "exec/choose_executor.hpp"
#include "plan/plan.hpp"
#include "run/batches.hpp"
#include "train/step.hpp"

namespace selenite {

double Evaluation::perplexity() const { return std::exp(std::min(20.0, loss)); }
double Evaluation::unigram_perplexity() const { return std::exp(std::min(20.0, unigram_loss)); }
double Evaluation::bits_per_byte() const { return bytes > 0 ? loss * tokens / bytes / std::log(2.0) : 0; }
double Evaluation::word_perplexity() const {
  return words > 1 ? std::exp(std::min(20.0, loss * tokens / (words - 1))) : 0;
}

namespace {

/// The checkpoint that a path means.
std::filesystem::path find_checkpoint(std::filesystem::path const& path) {
  validate(is_there(path), "There is no ", path.string(),
           " (no such file or folder). Name a run folder, a folder of checkpoints or a checkpoint.");
  if (is_there(path / "index.h5")) return path;
  std::filesystem::path const root = is_there(path / "checkpoints") ? path / "checkpoints" : path;
  IoThread io;
  NewestCheckpoint const newest = newest_checkpoint(io, root);
  validate(newest.found.has_value(), "There is no whole checkpoint in ", root.string(), " (",
           newest.skipped.empty() ? "it holds none" : join(newest.skipped, "; "),
           "). Name a run folder or a checkpoint.");
  return newest.found->folder;
}

Config evaluation_config(CheckpointHeader const& header, std::vector<std::string> const& settings,
                         std::filesystem::path const& folder, std::int64_t ranks) {
  std::string const origin = (folder / "index.h5").string();
  Config c = parse_config(header.config, {}, origin);
  c.layout = LayoutConfig{}, c.run.backend = BackendKind::cpu;  // the training's machine need not be this one
  c = parse_config(to_toml(c), settings, origin);
  LayoutConfig const& l = c.layout;
  double others = 1;  // the product of large sizes has no room in 64 bits
  for (std::int64_t const size : {l.tensor, l.context, l.expert, l.pipe}) others *= static_cast<double>(size);
  double const replicas = l.data > 0 ? static_cast<double>(l.data) : static_cast<double>(ranks) / others;
  if (others * replicas <= static_cast<double>(ranks))  // else resolve() refuses the layout
    c.train.global_batch =
        c.train.micro_batch * std::max<std::int64_t>(1, static_cast<std::int64_t>(replicas)) * l.pipe;
  c.train.steps = 0, c.train.samples = 0, c.train.valid_every = 0, c.train.batch_ramp.clear();
  return resolve(c, ranks);
}

}  // namespace

Evaluator::Evaluator(std::filesystem::path const& path, std::vector<std::string> const& settings, Comm& comm)
    : comm_(comm), folder_(find_checkpoint(path)) {
  IoThread io;
  CheckpointReader reader(io, folder_);
  header_ = reader.header();
  config_ = evaluation_config(header_, settings, folder_, comm.world());
  if (config_.run.threads > 0) set_threads(static_cast<int>(config_.run.threads));
  grid_ = make_grid(config_.layout);
  comm_.set_grid(grid_);
  executor_ = choose_executor(config_.run, comm_);
  if (executor_.cuda) require_products(config_.train.precision, executor_.cuda->cuda().device);
  stage_.emplace(config_, grid_, comm_.rank(), Purposes::evaluation);
  if (executor_.cuda) stage_->prepare(executor_.cuda->cuda());
  stage_->take_memory();
  ctx_.emplace(stage_->place(), executor_, &comm_);
  restore(*stage_, reader, false);
  publish_weights(*ctx_, *stage_);
}

std::string Evaluator::describe_memory() const {
  std::string text;
  for (auto const& [label, bytes] : stage_->footprint().rows())
    text += concat(label, "  ", format_bytes(static_cast<double>(bytes)), "\n");
  return text + concat("total  ", format_bytes(static_cast<double>(stage_->footprint().total())), "\n");
}

Tokenizer& Evaluator::tokenizer() {
  if (!tokenizer_) {
    validate(
        !config_.data.tokenizer.empty(),
        "data.tokenizer is empty in the checkpoint's config (text needs one). Name it by --set data.tokenizer=PATH.");
    tokenizer_ = load_tokenizer(config_.data.tokenizer);
    validate(tokenizer_->vocab_size() <= config_.model.vocab_size, "The tokenizer ", config_.data.tokenizer, " has ",
             tokenizer_->vocab_size(), " tokens but the model only ", config_.model.vocab_size,
             ". Name the tokenizer that the model was trained with by --set data.tokenizer=PATH.");
  }
  return *tokenizer_;
}

std::vector<double> const& Evaluator::unigram() {
  if (unigram_known_) return unigram_;
  unigram_known_ = true;
  constexpr std::int64_t enough = 20'000'000;
  std::vector<double> counts(static_cast<std::size_t>(config_.model.vocab_size), 1);  // add-one smoothing
  std::int64_t seen = 0;
  for (std::string const& prefix : config_.data.train) {
    if (!std::filesystem::exists(index_path(prefix))) continue;  // a weight, or a corpus that is not at hand
    IndexedDataset const corpus(prefix);
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = 0; i < corpus.sequences() && seen < enough; ++i) {
      tokens.resize(static_cast<std::size_t>(corpus.length(i)));
      corpus.read(i, 0, tokens);
      for (std::int32_t t : tokens)
        if (t >= 0 && t < config_.model.vocab_size) counts[static_cast<std::size_t>(t)] += 1;
      seen += static_cast<std::int64_t>(tokens.size());
    }
  }
  if (seen == 0) return unigram_;
  double const total = std::accumulate(counts.begin(), counts.end(), 0.0);
  for (double c : counts) unigram_.push_back(-std::log(c / total));
  return unigram_;
}

namespace {

/// Sum of the baseline's losses over the counted labels of a batch.
double baseline(std::vector<double> const& unigram, Batch const& b) {
  double sum = 0;
  if (unigram.empty()) return sum;
  for (std::int64_t i = 0; i < b.count(); ++i)
    if (b.weights.data<std::uint8_t>()[i]) sum += unigram[static_cast<std::size_t>(b.labels.data<std::int32_t>()[i])];
  return sum;
}

}  // namespace

Evaluation Evaluator::score(std::int64_t rows, std::function<void(std::int64_t, Batch&)> const& fill) {
  std::int64_t const replicas = grid_.size(Axis::data), per_pass = config_.train.micro_batch,
                     micros = (rows + per_pass * replicas - 1) / (per_pass * replicas);
  // All ranks of a replica see its samples: of its tensor ranks and stages one counts their baseline.
  bool const counts = grid_.coord(comm_.rank(), Axis::tensor) == 0 && grid_.coord(comm_.rank(), Axis::pipe) == 0;
  std::vector<double> sums{0, counts && !unigram().empty() ? 1.0 : 0.0};
  std::vector<bool> seen(static_cast<std::size_t>(micros), false);  // a stage of several chunks loads it for each
  StepResult const result = evaluate_batches(*ctx_, *stage_, micros, [&](Micro micro, Batch& batch) {
    fill((*micro * replicas + grid_.coord(comm_.rank(), Axis::data)) * per_pass, batch);
    auto&& again = seen[static_cast<std::size_t>(*micro)];
    if (counts && !again) sums[0] += baseline(unigram(), batch);
    again = true;
  });
  comm_.all_reduce(sums, Reduction::sum);
  validate(std::isfinite(result.loss), "The loss of ", folder_.string(),
           " is not finite (its training had diverged, or a rank computes wrongly). Evaluate an older checkpoint.");
  Evaluation e{.loss = result.loss, .tokens = result.tokens, .ranks = comm_.world()};
  e.unigram_loss = sums[1] > 0 ? sums[0] / std::max(result.tokens, 1.0) : -1;
  return e;
}

Evaluation Evaluator::split(std::string const& split, std::int64_t samples) {
  std::vector<std::string> const names{"train", "valid", "test"};
  auto const which = static_cast<std::size_t>(std::find(names.begin(), names.end(), split) - names.begin());
  SampleCounts wanted{0, 0, 0};
  wanted[which] = samples > 0 ? std::optional(samples) : std::nullopt;
  DataConfig data = config_.data;
  data.cache.clear();
  auto splits = open_corpora(data, wanted, static_cast<std::int32_t>(config_.model.sequence_length),
                             static_cast<std::uint32_t>(config_.train.seed), true);
  validate(splits[which].has_value() && splits[which]->size() > 0, "The ", split, " split is empty (data.", split,
           " is not set and data.split = \"", config_.data.split, "\" gives it nothing). Name one that is not.");
  BatchSource const source(std::move(*splits[which]), batch_options(config_));
  std::int64_t const all = samples > 0 ? std::min(samples, source.size()) : source.size();
  return score(all, [&](std::int64_t first, Batch& batch) { fill_batch(source, first, batch, all); });
}

namespace {

/// Rows of a batch from a token stream: row s takes the window that starts at starts[first + s]; labels before
/// `scored_from`, beyond the stream and of windows beyond the last do not count.
void fill_windows(Batch& b, std::vector<std::int32_t> const& stream, std::vector<std::int64_t> const& starts,
                  std::int64_t first, std::int64_t stride) {
  auto const end = static_cast<std::int64_t>(stream.size()), windows = static_cast<std::int64_t>(starts.size());
  for (std::int64_t s = 0; s < b.samples; ++s) {
    bool const there = first + s < windows;
    std::int64_t const start = starts[static_cast<std::size_t>(std::min(first + s, windows - 1))],
                       scored_from = start == 0 ? 0 : b.sequence * b.context_ranks - stride;
    b.sample_ids.data<std::int64_t>()[s] = s;
    for (std::int64_t i = 0; i < b.sequence; ++i) {
      std::int64_t const t = s * b.sequence + i, place = b.place(i), at = start + place;
      b.tokens.data<std::int32_t>()[t] = at < end ? stream[static_cast<std::size_t>(at)] : 0;
      bool const scored = there && place >= scored_from && at + 1 < end;
      b.labels.data<std::int32_t>()[t] = at + 1 < end ? stream[static_cast<std::size_t>(at + 1)] : 0;
      b.weights.data<std::uint8_t>()[t] = scored;
      b.positions.data<std::int32_t>()[t] = b.places.data<std::int32_t>()[t] = static_cast<std::int32_t>(place);
      if (b.document_starts.defined()) b.document_starts.data<std::int32_t>()[t] = 0;
      b.token_samples.data<std::int64_t>()[t] = s;
    }
  }
}

}  // namespace

Evaluation Evaluator::text(std::string const& text, std::int64_t stride) {
  std::vector<std::int32_t> stream;
  tokenizer().encode(text, stream);
  validate(stream.size() >= 2, "The text has ", stream.size(),
           " tokens (a loss needs at least two). Use a longer text.");
  std::int64_t const length = config_.model.sequence_length;
  if (stride == 0) stride = length;
  validate(stride > 0 && stride <= length, "--stride ", stride,
           " is out of range (it must be at least 1 and at most the sequence length ", length, "). Correct it.");
  std::vector<std::int64_t> starts{0};
  while (starts.back() + length + 1 < static_cast<std::int64_t>(stream.size()))
    starts.push_back(starts.back() + stride);
  Evaluation e = score(static_cast<std::int64_t>(starts.size()),
                       [&](std::int64_t first, Batch& batch) { fill_windows(batch, stream, starts, first, stride); });
  e.bytes = static_cast<double>(text.size());
  e.words = static_cast<double>(selenite::split(trim(text), ' ').size());
  return e;
}

}  // namespace selenite
