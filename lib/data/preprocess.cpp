#include "data/preprocess.hpp"

#include "core/error.hpp"
#include "data/indexed.hpp"
#include "data/preprocess_blocks.hpp"
#include "data/preprocess_pipeline.hpp"
#include "data/preprocess_state.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;

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
  validate(!options.inputs.empty(), "There is no input (no file was named). Name at least one file.");
  validate(options.threads >= 1, "threads = ", options.threads,
           " cannot work (no thread would do the work). Use 1 or more.");
  validate(!options.append_eod || tokenizer.eod() >= 0, "No end-of-document id can be appended (", tokenizer.name(),
           " names none). Leave --append-eod out, or name eos_token in a tokenizer_config.json beside it.");
  fs::path const folder = options.output.has_parent_path() ? options.output.parent_path() : fs::path(".");
  validate(fs::is_directory(folder), "Output folder '", folder.string(),
           "' does not exist (it is not made unasked). Make it.");
}

void check_output(TokenizeOptions const& options) {
  bool const exists = fs::exists(index_path(options.output)) || fs::exists(tokens_path(options.output));
  bool const unfinished = fs::exists(state_path(options.output)) && !options.restart;
  validate(!exists || unfinished || options.overwrite, "Output '", options.output.string(),
           "' exists already (an earlier run wrote it). Choose another, or replace it with --overwrite.");
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
  CorpusLock const lock(options.output);
  check_output(options);
  TokenType const type = token_type_for(tokenizer.vocab_size());
  TokenizeProgress progress;
  for (fs::path const& input : options.inputs)
    progress.file_bytes_total += static_cast<std::int64_t>(fs::file_size(input));
  TokenizeState state;
  std::string const identity = tokenize_identity(options, tokenizer);
  bool const resume = fs::exists(state_path(options.output)) && !options.restart;
  if (resume) state = load_state(options.output, identity);
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
    save_state(options.output, identity, state);
  };
  {
    TokenizePipeline pipeline(options, tokenizer, state.position);
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
