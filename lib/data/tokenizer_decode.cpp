#include <numeric>

#include "data/tokenizer_bpe.hpp"

namespace selenite {
namespace {

using Tokens = std::vector<std::string>;

void replace_all(std::string& text, std::string const& pattern, std::string const& content) {
  if (pattern.empty()) return;
  for (std::size_t at = 0; (at = text.find(pattern, at)) != std::string::npos; at += content.size()) {
    text.replace(at, pattern.size(), content);
  }
}

void apply(ReplaceDecode const& step, Tokens& tokens) {
  for (std::string& token : tokens) replace_all(token, step.pattern, step.content);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

void apply(ByteFallbackDecode const&, Tokens& tokens) {
  for (std::string& token : tokens) {
    if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') continue;
    int const high = hex_digit(token[3]);
    int const low = hex_digit(token[4]);
    if (high >= 0 && low >= 0) token.assign(1, static_cast<char>(high * 16 + low));
  }
}

void apply(FuseDecode const&, Tokens& tokens) {
  std::string all = std::accumulate(tokens.begin(), tokens.end(), std::string());
  tokens.assign(1, std::move(all));
}

void apply(StripDecode const& step, Tokens& tokens) {
  if (step.content.empty()) return;
  for (std::string& token : tokens) {
    for (int i = 0; i < step.start && token.starts_with(step.content); ++i) token.erase(0, step.content.size());
    for (int i = 0; i < step.stop && token.ends_with(step.content); ++i)
      token.resize(token.size() - step.content.size());
  }
}

void apply(MetaspaceDecode const& step, Tokens& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i == 0 && step.prepended && tokens[0].starts_with(step.replacement))
      tokens[0].erase(0, step.replacement.size());
    replace_all(tokens[i], step.replacement, " ");
  }
}

void apply(ByteLevelDecode const&, Tokens&) {}  // tokens are bytes already

}  // namespace

std::string decode_tokens(std::vector<DecodeStep> const& steps, std::vector<std::string> tokens) {
  for (DecodeStep const& step : steps) {
    std::visit([&](auto const& which) { apply(which, tokens); }, step);
  }
  return std::accumulate(tokens.begin(), tokens.end(), std::string());
}

}  // namespace selenite
