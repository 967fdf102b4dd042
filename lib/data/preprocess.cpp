#include "data/preprocess.hpp"

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "core/error.hpp"
#include "data/indexed.hpp"
#include "data/preprocess_blocks.hpp"
#include "data/preprocess_state.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;

/// A block on its way: text, then tokens or what went wrong.
struct Job {
  TextBlock text;
  TokenBlock tokens;
  std::exception_ptr error;
};

/// One reader thread and many workers; results are taken in the order of the input. At most `capacity` blocks are under
/// way, so that memory is bounded.
class Pipeline {
 public:
  Pipeline(TokenizeOptions const& options, Tokenizer const& tokenizer, InputPosition const& from)
      : options_(options), reader_(options, from), capacity_(static_cast<std::size_t>(options.threads) * 2 + 2) {
    threads_.emplace_back([this](std::stop_token stop) { read(stop); });
    for (int i = 0; i < options.threads; ++i) {
      threads_.emplace_back(
          [this, mine = std::shared_ptr<Tokenizer>(tokenizer.clone())](std::stop_token stop) { work(*mine, stop); });
    }
  }
  ~Pipeline() {
    for (std::jthread& thread : threads_) thread.request_stop();
    // under the lock, so that no thread is between its test and its wait
    { std::lock_guard const lock(mutex_); }
    changed_.notify_all();
  }
  /// The next block in order; nothing after the last. Rethrows what reader or worker threw at this place.
  std::optional<Job> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_.contains(taken_) || (finished_ && taken_ == read_); });
    if (!done_.contains(taken_)) return std::nullopt;
    Job job = std::move(done_.extract(taken_).mapped());
    ++taken_;
    lock.unlock();
    changed_.notify_all();
    if (job.error) std::rethrow_exception(job.error);
    return job;
  }

 private:
  void read(std::stop_token stop) {
    while (true) {
      Job job;
      bool more = true;
      try {
        more = reader_.next(job.text);
      } catch (...) {
        job.error = std::current_exception();
      }
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop.stop_requested() || read_ - taken_ < capacity_; });
      if (stop.stop_requested()) return;
      bool const failed = job.error != nullptr;
      if (failed) {
        done_[read_++] = std::move(job);
      } else if (more) {
        waiting_.emplace_back(read_++, std::move(job));
      }
      finished_ = failed || !more;
      changed_.notify_all();
      if (finished_) return;
    }
  }
  void work(Tokenizer& tokenizer, std::stop_token stop) {
    while (true) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop.stop_requested() || !waiting_.empty() || finished_; });
      if (stop.stop_requested() || waiting_.empty()) return;
      auto [number, job] = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      try {
        job.tokens = tokenize_block(options_, job.text, tokenizer);
      } catch (...) {
        job.error = std::current_exception();
      }
      lock.lock();
      done_[number] = std::move(job);
      changed_.notify_all();
    }
  }

  TokenizeOptions const& options_;
  BlockReader reader_;
  std::size_t const capacity_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<std::size_t, Job>> waiting_;
  std::map<std::size_t, Job> done_;
  std::size_t read_ = 0;
  std::size_t taken_ = 0;
  bool finished_ = false;              // nothing more will be read
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

void add_block(TokenBlock const& block, IndexedWriter& writer, TokenizeCounts& counts) {
  std::span<std::int32_t const> tokens = block.tokens;
  std::span<std::int32_t const> lengths = block.sequence_lengths;
  for (std::int32_t const sequences : block.document_sequences) {
    auto const document = lengths.first(static_cast<std::size_t>(sequences));
    std::size_t size = 0;
    for (std::int32_t const length : document) size += static_cast<std::size_t>(length);
    writer.add_document(tokens.first(size), document);
    tokens = tokens.subspan(size);
    lengths = lengths.subspan(document.size());
    counts.empty_documents += sequences == 0;
  }
  counts.documents += static_cast<std::int64_t>(block.document_sequences.size());
  counts.repaired_documents += block.repaired_documents;
  counts.bad_lines += block.bad_lines;
  counts.sequences = writer.state().sequences;
  counts.tokens = writer.state().tokens;
}

void check(TokenizeOptions const& options, Tokenizer const& tokenizer) {
  validate(!options.inputs.empty(), "There is no input. Name at least one file.");
  validate(options.threads >= 1, "threads = ", options.threads, " cannot work. Use 1 or more.");
  validate(!options.append_eod || tokenizer.eod() >= 0, "No end-of-document id can be appended (", tokenizer.name(),
           " names none). Leave --append-eod out, or name eos_token in a tokenizer_config.json beside it.");
  fs::path const folder = options.output.has_parent_path() ? options.output.parent_path() : fs::path(".");
  validate(fs::is_directory(folder), "Output folder '", folder.string(), "' does not exist. Make it.");
  bool const exists = fs::exists(index_path(options.output)) || fs::exists(tokens_path(options.output));
  bool const unfinished = fs::exists(state_path(options.output)) && !options.restart;
  validate(!exists || unfinished || options.overwrite, "Output '", options.output.string(),
           "' exists already. Choose another, or replace it with --overwrite.");
}

/// Whether a run was killed after its output was complete, so that only the leftovers have to go.
bool only_leftovers(TokenizeOptions const& options, TokenizeState const& state) {
  return state.finishing && !fs::exists(tokens_path(options.output).string() + ".partial") &&
         fs::exists(index_path(options.output)) && fs::exists(tokens_path(options.output));
}

void remove_leftovers(fs::path const& output) {
  for (char const* kind : {".lengths.partial", ".documents.partial", ".progress.partial.new"}) {
    fs::remove(output.string() + kind);
  }
  fs::remove(state_path(output));
}

}  // namespace

TokenizeProgress tokenize_corpus(TokenizeOptions const& options, Tokenizer const& tokenizer,
                                 std::function<void(TokenizeProgress const&)> const& report) {
  check(options, tokenizer);
  TokenType const type = token_type_for(tokenizer.vocab_size());
  TokenizeProgress progress;
  for (fs::path const& input : options.inputs)
    progress.file_bytes_total += static_cast<std::int64_t>(fs::file_size(input));
  TokenizeState state;
  bool const resume = fs::exists(state_path(options.output)) && !options.restart;
  if (resume) state = load_state(options, tokenizer);
  progress.counts = state.counts;
  progress.resumed_bytes = state.counts.text_bytes;
  if (resume && only_leftovers(options, state)) {
    IndexedDataset const complete(options.output);
    remove_leftovers(options.output);
    progress.file_bytes = progress.file_bytes_total;
    return progress;
  }
  if (options.restart) fs::remove(state_path(options.output));
  IndexedWriter writer =
      resume ? IndexedWriter(options.output, type, state.writer) : IndexedWriter(options.output, type);
  auto const checkpoint = [&](bool finishing) {
    state.writer = writer.checkpoint();
    state.counts = progress.counts;
    state.finishing = finishing;
    save_state(options, tokenizer, state);
  };
  {
    Pipeline pipeline(options, tokenizer, state.position);
    std::int64_t saved_at = progress.counts.text_bytes;
    while (auto const job = pipeline.take()) {
      add_block(job->tokens, writer, progress.counts);
      progress.counts.text_bytes += static_cast<std::int64_t>(job->text.text.size());
      progress.file_bytes = job->text.file_bytes;
      state.position = job->text.end;
      if (progress.counts.text_bytes - saved_at >= options.checkpoint_bytes) {
        checkpoint(false);
        saved_at = progress.counts.text_bytes;
      }
      report(progress);
    }
  }
  checkpoint(true);
  writer.finish();
  fs::remove(state_path(options.output));
  return progress;
}

}  // namespace selenite
