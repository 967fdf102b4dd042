#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "data/preprocess_blocks.hpp"

namespace selenite {

/// A block on its way: text, then tokens or what went wrong.
struct Job {
  TextBlock text;
  TokenBlock tokens;
  std::exception_ptr error;
};

/// One reader thread and many workers; results are taken in the order of the input. At most `capacity` blocks are under
/// way, so that memory is bounded.
class TokenizePipeline {
 public:
  TokenizePipeline(TokenizeOptions const& options, Tokenizer const& tokenizer, InputPosition const& from);
  ~TokenizePipeline();
  /// The next block in order; nothing after the last. Rethrows what reader or worker threw at this place.
  std::optional<Job> take();

 private:
  void read(std::stop_token const& stop);
  void work(Tokenizer& tokenizer, std::stop_token const& stop);

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

}  // namespace selenite
