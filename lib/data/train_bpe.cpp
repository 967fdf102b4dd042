#include "data/train_bpe.hpp"

#include <algorithm>
#include <array>
#include <queue>

#include "core/error.hpp"
#include "data/bpe.hpp"

namespace selenite {
namespace {

using Id = std::int32_t;
using Pair = std::pair<Id, Id>;

struct PairHash {
  std::size_t operator()(Pair const& pair) const {
    auto const key = static_cast<std::uint64_t>(static_cast<std::uint32_t>(pair.first)) << 32 |
                     static_cast<std::uint32_t>(pair.second);
    return static_cast<std::size_t>(key * 0x9e3779b97f4a7c15u >> 16);
  }
};

/// A pair that waits to be merged, with the words that held it when it was noted.
struct Candidate {
  std::int64_t count;
  Pair pair;
  std::vector<std::int32_t> words;
};
struct Later {
  bool operator()(Candidate const& a, Candidate const& b) const {
    return a.count != b.count ? a.count < b.count : a.pair > b.pair;
  }
};

class Trainer {
 public:
  Trainer(WordCounts const& words, BpeTraining const& training);
  TrainedBpe run(std::function<void(std::int64_t)> const& report);

 private:
  /// A word's symbols are symbols_[begin, begin + length).
  struct Word {
    std::size_t begin;
    std::int32_t length;
    std::int64_t count;
  };
  Id add_token(std::string const& token);
  void count_pairs();
  void queue_new();
  void merge(Candidate const& best, Id new_id);
  void merge_in_word(std::int32_t word, Pair const& pair, Id new_id);
  void change(Pair const& pair, std::int32_t word, std::int64_t by);

  BpeTraining training_;
  TrainedBpe result_;
  std::unordered_map<std::string, Id> ids_;
  std::vector<Id> symbols_;
  std::vector<Word> words_;
  std::unordered_map<Pair, std::int64_t, PairHash> counts_;
  std::unordered_map<Pair, std::vector<std::int32_t>, PairHash> fresh_;  // pairs that have grown, with their words
  std::priority_queue<Candidate, std::vector<Candidate>, Later> queue_;
};

Trainer::Trainer(WordCounts const& words, BpeTraining const& training) : training_(training) {
  for (std::string const& token : training.special_tokens) add_token(token);
  result_.special_tokens = result_.tokens.size();
  std::array<std::string, 256> alphabet;
  for (std::size_t byte = 0; byte < 256; ++byte)
    alphabet[byte] = byte_level_character(static_cast<unsigned char>(byte));
  auto sorted = alphabet;
  std::sort(sorted.begin(), sorted.end());  // of UTF-8, hence by code point
  for (std::string const& character : sorted) add_token(character);
  validate(static_cast<std::size_t>(training.vocab_size) >= result_.tokens.size(), "A vocabulary of ",
           training.vocab_size, " tokens is too small (the special tokens and the 256 bytes make ",
           result_.tokens.size(), "). Ask for more.");
  std::array<Id, 256> id_of;
  for (std::size_t byte = 0; byte < 256; ++byte) id_of[byte] = ids_.at(alphabet[byte]);
  // Sorted, so that nothing depends on the order of a hash table.
  std::vector<std::pair<std::string_view, std::int64_t>> ordered(words.begin(), words.end());
  std::sort(ordered.begin(), ordered.end());
  for (auto const& [word, count] : ordered) {
    if (word.size() < 2) continue;
    words_.push_back({symbols_.size(), static_cast<std::int32_t>(word.size()), count});
    for (char const c : word) symbols_.push_back(id_of[static_cast<unsigned char>(c)]);
  }
}

Id Trainer::add_token(std::string const& token) {
  auto const [place, is_new] = ids_.try_emplace(token, static_cast<Id>(result_.tokens.size()));
  if (is_new) result_.tokens.push_back(token);
  return place->second;
}

void Trainer::change(Pair const& pair, std::int32_t word, std::int64_t by) {
  counts_[pair] += by;
  if (by <= 0) return;
  auto& holders = fresh_[pair];
  if (holders.empty() || holders.back() != word) holders.push_back(word);
}

void Trainer::count_pairs() {
  for (std::size_t w = 0; w < words_.size(); ++w) {
    Id const* const symbols = symbols_.data() + words_[w].begin;
    for (std::int32_t i = 0; i + 1 < words_[w].length; ++i) {
      change({symbols[i], symbols[i + 1]}, static_cast<std::int32_t>(w), words_[w].count);
    }
  }
}

void Trainer::queue_new() {
  for (auto& [pair, words] : fresh_) {
    std::int64_t const count = counts_[pair];
    if (count > 0) queue_.push({count, pair, std::move(words)});
  }
  fresh_.clear();
}

void Trainer::merge_in_word(std::int32_t number, Pair const& pair, Id new_id) {
  Word& word = words_[static_cast<std::size_t>(number)];
  Id* const symbols = symbols_.data() + word.begin;
  std::int32_t kept = 0;
  for (std::int32_t i = 0; i < word.length; ++i, ++kept) {
    if (symbols[i] != pair.first || i + 1 == word.length || symbols[i + 1] != pair.second) {
      symbols[kept] = symbols[i];
      continue;
    }
    // What is left of the pair is merged already, what is right of it is not.
    if (kept > 0) {
      change({symbols[kept - 1], pair.first}, number, -word.count);
      change({symbols[kept - 1], new_id}, number, word.count);
    }
    if (i + 2 < word.length) {
      change({pair.second, symbols[i + 2]}, number, -word.count);
      change({new_id, symbols[i + 2]}, number, word.count);
    }
    symbols[kept] = new_id;
    ++i;
  }
  word.length = kept;
}

TrainedBpe Trainer::run(std::function<void(std::int64_t)> const& report) {
  count_pairs();
  queue_new();
  while (static_cast<std::int32_t>(result_.tokens.size()) < training_.vocab_size && !queue_.empty()) {
    Candidate best = std::move(const_cast<Candidate&>(queue_.top()));  // popped at once: the order cannot be hurt
    queue_.pop();
    std::int64_t const count = counts_[best.pair];
    if (count != best.count) {  // noted before other merges took some away
      best.count = count;
      if (count > 0) queue_.push(std::move(best));
      continue;
    }
    if (count < 1 || count < training_.min_frequency) break;
    std::string const left = result_.tokens[static_cast<std::size_t>(best.pair.first)];
    std::string const right = result_.tokens[static_cast<std::size_t>(best.pair.second)];
    Id const new_id = add_token(left + right);
    result_.merges.emplace_back(left, right);
    for (std::int32_t const word : best.words) merge_in_word(word, best.pair, new_id);
    queue_new();
    report(static_cast<std::int64_t>(result_.tokens.size()));
  }
  return std::move(result_);
}

}  // namespace

TrainedBpe train_bpe(WordCounts const& words, BpeTraining const& training,
                     std::function<void(std::int64_t)> const& report) {
  return Trainer(words, training).run(report);
}

}  // namespace selenite
