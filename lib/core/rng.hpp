#pragma once
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace selenite {

/// Four 32-bit random words.
using Words4 = std::array<std::uint32_t, 4>;

/// Philox4x32-10: a bijection of 128-bit counters under a 64-bit key, ten rounds (Salmon et al., SC11).
/// No state: any word of any stream can be had at any time by any rank.
constexpr Words4 philox(Words4 counter, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    std::uint64_t const p0 = std::uint64_t{0xD2511F53u} * counter[0], p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return counter;
}

/// What random numbers are for. Streams of different purposes never meet.
enum class Purpose : std::uint8_t { hidden_dropout = 1, attention_dropout = 2, sampling = 3 };

/// The place of a draw in the training: purpose and layer (32 bits), global sample number (40 bits), and 56 bits by
/// purpose. The layout is nowhere in it, so that every layout draws the same numbers. `site` tells several draws of one
/// layer apart.
constexpr Words4 pack_counter(Purpose purpose, std::uint32_t layer, std::uint32_t site, std::uint64_t sample,
                              std::uint64_t detail) {
  return {static_cast<std::uint32_t>(purpose) << 24 | (site & 0xfu) << 20 | (layer & 0xfffffu),
          static_cast<std::uint32_t>(sample),
          static_cast<std::uint32_t>(sample >> 32 & 0xffu) | static_cast<std::uint32_t>(detail & 0xffffffu) << 8,
          static_cast<std::uint32_t>(detail >> 24 & 0xffffffffu)};
}
/// Hidden dropout: the words for features 4*quad .. 4*quad+3 of a token (position 24 bits, quad 32 bits).
constexpr std::uint64_t hidden_detail(std::uint64_t position, std::uint64_t quad) {
  return (position & 0xffffffu) | quad << 24;
}
/// Attention dropout: the words hold eight 16-bit decisions, for keys 8*octet .. 8*octet+7 (head 12, query 20, octet 24
/// bits).
constexpr std::uint64_t attention_detail(std::uint64_t head, std::uint64_t query, std::uint64_t octet) {
  return (head & 0xfffu) | (query & 0xfffffu) << 12 | (octet & 0xffffffu) << 32;
}

/// Where a dropout site draws: one per (layer, site); the sample numbers come with the tokens.
struct DropoutSite {
  double probability = 0;  ///< of being dropped; 0 switches the site off
  std::uint64_t seed = 0;
  std::uint32_t layer = 0;
  std::uint32_t site = 0;
};
/// A word drops its element if it is below this.
constexpr std::uint32_t dropout_threshold(double probability) {
  return static_cast<std::uint32_t>(probability * 4294967296.0);
}
/// A 16-bit decision drops its element if it is below this.
constexpr std::uint32_t dropout_threshold16(double probability) {
  return static_cast<std::uint32_t>(probability * 65536.0 + 0.5);
}

/// 64-bit FNV-1a of a parameter's name: its stream of initial values.
constexpr std::uint64_t name_hash(std::string_view name) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}
/// Initial values have a key of their own, "INIT", so that they never meet the training's draws.
constexpr std::uint64_t init_key(std::uint64_t seed) { return seed ^ 0x494e495400000000ull; }
/// The words that initialize elements 4*quad .. 4*quad+3 of the logical parameter with this name hash.
constexpr Words4 init_words(std::uint64_t seed, std::uint64_t hash, std::uint64_t quad) {
  return philox({static_cast<std::uint32_t>(quad), static_cast<std::uint32_t>(quad >> 32),
                 static_cast<std::uint32_t>(hash), static_cast<std::uint32_t>(hash >> 32)},
                init_key(seed));
}

/// A uniform in (0, 1) from a word.
constexpr double uniform(std::uint32_t word) { return (static_cast<double>(word) + 0.5) * (1.0 / 4294967296.0); }

/// A standard normal from one word: the inverse of the normal distribution by rational approximation (Wichura, AS 241,
/// relative error 1e-16 in double). Only +, *, / , fma and sqrt, which IEEE 754 rounds correctly, and every
/// multiply-add is an explicit fma: all backends and compilers draw the same bits.
double normal_from_word(std::uint32_t word);
/// out[i] = normal_from_word(words[i]), vectorized.
void normals_from_words(std::uint32_t const* words, float* out, std::int64_t count, float scale);

}  // namespace selenite
