#include "data/preprocess_pipeline.hpp"

#include <memory>

namespace selenite {

TokenizePipeline::TokenizePipeline(TokenizeOptions const& options, Tokenizer const& tokenizer,
                                   InputPosition const& from)
    : options_(options), reader_(options, from), capacity_(static_cast<std::size_t>(options.threads) * 2 + 2) {
  threads_.emplace_back([this](std::stop_token const& stop) { read(stop); });
  for (int i = 0; i < options.threads; ++i) {
    threads_.emplace_back([this, mine = std::shared_ptr<Tokenizer>(tokenizer.clone())](std::stop_token const& stop) {
      work(*mine, stop);
    });
  }
}

TokenizePipeline::~TokenizePipeline() {
  for (std::jthread& thread : threads_) thread.request_stop();
  // Under the lock, so that no thread is between its test and its wait.
  { std::lock_guard const lock(mutex_); }
  changed_.notify_all();
}

std::optional<Job> TokenizePipeline::take() {
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

void TokenizePipeline::read(std::stop_token const& stop) {
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

void TokenizePipeline::work(Tokenizer& tokenizer, std::stop_token const& stop) {
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

}  // namespace selenite
