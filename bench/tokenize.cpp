// Motive: is tokenizing fast enough to feed training (10 MB/s a core with GPT-2's vocabulary), does a second core
// double it, and what share of it is finding the words?
//   bench_tokenize TOKENIZER TEXT [THREADS]
// Result: 2 cores of an Intel server CPU, GPT-2's vocabulary, 30 MB of English manuals and documentation: 46 MB/s a
// core of processor time; 2 threads 1.8 to 2.0 times that.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <thread>
#include <time.h>

#include "core/error.hpp"
#include "data/pretokenize_scan.hpp"
#include "data/tokenizer.hpp"

using namespace selenite;

namespace {

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Calls `encode` with documents of about 5 kB.
template <class Encode>
void each_document(std::string_view text, Encode&& encode) {
  for (std::size_t at = 0; at < text.size();) {
    std::size_t const line_end = text.find('\n', std::min(text.size(), at + 5000));
    std::size_t const end = line_end == std::string_view::npos ? text.size() : line_end + 1;
    encode(text.substr(at, end - at));
    at = end;
  }
}

/// Encodes the whole text on every thread. Returns the seconds of processor time of one thread, and the wall time.
std::pair<double, double> encode_all(Tokenizer const& tokenizer, std::string_view text, int threads) {
  std::vector<double> seconds(static_cast<std::size_t>(threads));
  auto const start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> workers;
    for (double& mine : seconds) {
      workers.emplace_back([&, own = std::shared_ptr<Tokenizer>(tokenizer.clone())] {
        std::vector<std::int32_t> ids;
        double const before = thread_seconds();
        each_document(text, [&](std::string_view document) {
          ids.clear();
          own->encode(document, ids);
        });
        mine = thread_seconds() - before;
      });
    }
  }
  double const wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return {*std::max_element(seconds.begin(), seconds.end()), wall};
}

double scan_all(std::string_view text, std::size_t& words) {
  Scanner const scanner;
  double const before = thread_seconds();
  for (char const *p = text.data(), *end = p + text.size(); p < end; p = scanner.next_gpt2(p, end)) ++words;
  return thread_seconds() - before;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "bench_tokenize TOKENIZER TEXT [THREADS]\n"), 2;
  try {
    auto const tokenizer = load_tokenizer(argv[1]);
    std::ifstream file(argv[2], std::ios::binary);
    std::string const text{std::istreambuf_iterator<char>(file), {}};
    validate(!text.empty(), "Cannot read '", argv[2], "' (it is missing or empty). Name a text file.");
    int const threads = argc > 3 ? std::max(1, std::atoi(argv[3])) : 2;
    double const megabytes = static_cast<double>(text.size()) / 1e6;
    for (int round = 0; round < 3; ++round) {
      std::size_t words = 0;
      double const scan = scan_all(text, words);
      auto const [one_cpu, one_wall] = encode_all(*tokenizer, text, 1);
      auto const [many_cpu, many_wall] = encode_all(*tokenizer, text, threads);
      std::printf(
          "1 thread %.1f MB/s, finding words %.0f %% of it; %d threads %.2f times that (processor time);"
          " wall time %.1f and %.1f MB/s, %.2f times\n",
          megabytes / one_cpu, 100 * scan / one_cpu, threads, threads * one_cpu / many_cpu, megabytes / one_wall,
          threads * megabytes / many_wall, threads * one_wall / many_wall);
    }
    return 0;
  } catch (Error const& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
  }
}
