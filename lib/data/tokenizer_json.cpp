#include "data/tokenizer_json.hpp"

#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "data/npy.hpp"
#include "data/unicode.hpp"

namespace selenite {

using nlohmann::json;

namespace {

/// The value at `key`, or null.
json const& at(json const& node, char const* key) {
  static json const null;
  auto const found = node.find(key);
  return found == node.end() ? null : *found;
}

bool flag(json const& node, char const* key, bool otherwise) {
  json const& value = at(node, key);
  return value.is_null() ? otherwise : value.get<bool>();
}

std::string type_of(json const& node) { return node.at("type").get<std::string>(); }

[[noreturn]] void refuse(char const* what, std::string const& which) {
  throw Error(concat("The ", what, " '", which, "' is not supported. Use a tokenizer without it."));
}

/// A pattern is {"String": text} or {"Regex": expression}.
bool is_regex(json const& pattern, std::string& text) {
  if (json const& plain = at(pattern, "String"); plain.is_string()) {
    text = plain.get<std::string>();
    return false;
  }
  text = pattern.at("Regex").get<std::string>();
  return true;
}

/// A regular expression that matches `text` itself.
std::string escaped(std::string const& text) {
  std::string pattern;
  for (char const c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) == 0) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

SplitBehavior behavior_of(std::string const& name) {
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  refuse("split behavior", name);
}

PretokenizeStep read_split(json const& node) {
  std::string text;
  bool const regex = is_regex(node.at("pattern"), text);
  validate(!text.empty(), "A Split has an empty pattern.");
  SplitBehavior const behavior = behavior_of(node.at("behavior").get<std::string>());
  bool const invert = flag(node, "invert", false);
  // The patterns that leave no gap between their matches: what is done with gaps does not matter to them.
  bool const isolates = behavior == SplitBehavior::isolated || (behavior == SplitBehavior::removed && invert);
  if (regex && isolates) {
    if (int const digits = cl100k_digits(text)) return Cl100kStep{digits};
  }
  return SplitStep{Regex(regex ? text : escaped(text)), behavior, invert};
}

PretokenizeStep read_metaspace(json const& node) {
  MetaspaceStep step;
  step.replacement = node.at("replacement").get<std::string>();
  validate(!step.replacement.empty() && decode_utf8(step.replacement.data()).bytes == step.replacement.size(),
           "The replacement of Metaspace is not one character.");
  std::string const scheme =
      at(node, "prepend_scheme").is_null() ? "always" : at(node, "prepend_scheme").get<std::string>();
  if (scheme != "always" && scheme != "first" && scheme != "never") refuse("prepend_scheme", scheme);
  step.prepend = scheme == "always" ? Prepend::always : scheme == "first" ? Prepend::first : Prepend::never;
  if (!flag(node, "add_prefix_space", true)) step.prepend = Prepend::never;
  step.split = flag(node, "split", true);
  return step;
}

}  // namespace

std::vector<PretokenizeStep> read_pretokenizer(json const& node) {
  std::vector<PretokenizeStep> steps;
  if (node.is_null()) return steps;
  std::string const type = type_of(node);
  if (type == "Sequence") {
    for (json const& part : node.at("pretokenizers")) {
      for (PretokenizeStep& step : read_pretokenizer(part)) steps.push_back(std::move(step));
    }
    for (std::size_t i = 0; i + 1 < steps.size(); ++i) {
      validate(
          !std::holds_alternative<ByteLevelStep>(steps[i]),
          "The pre-tokenizer ByteLevel is not supported before another one. Use a tokenizer where it is the last.");
    }
  } else if (type == "ByteLevel") {
    steps.emplace_back(ByteLevelStep{flag(node, "add_prefix_space", true), flag(node, "use_regex", true)});
  } else if (type == "Split") {
    steps.push_back(read_split(node));
  } else if (type == "Digits") {
    steps.emplace_back(DigitsStep{flag(node, "individual_digits", false)});
  } else if (type == "Metaspace") {
    steps.push_back(read_metaspace(node));
  } else {
    refuse("pre-tokenizer", type);
  }
  return steps;
}

std::vector<NormalizeStep> read_normalizer(json const& node) {
  std::vector<NormalizeStep> steps;
  if (node.is_null()) return steps;
  std::string const type = type_of(node);
  if (type == "Sequence") {
    for (json const& part : node.at("normalizers")) {
      for (NormalizeStep& step : read_normalizer(part)) steps.push_back(std::move(step));
    }
  } else if (type == "NFC") {
    steps.emplace_back(UnicodeForm::nfc);
  } else if (type == "NFD") {
    steps.emplace_back(UnicodeForm::nfd);
  } else if (type == "NFKC") {
    steps.emplace_back(UnicodeForm::nfkc);
  } else if (type == "NFKD") {
    steps.emplace_back(UnicodeForm::nfkd);
  } else if (type == "Prepend") {
    steps.emplace_back(PrependStep{node.at("prepend").get<std::string>()});
  } else if (type == "Strip") {
    steps.emplace_back(StripStep{flag(node, "strip_left", true), flag(node, "strip_right", true)});
  } else if (type == "Replace") {
    std::string text;
    bool const regex = is_regex(node.at("pattern"), text);
    std::string content = node.at("content").get<std::string>();
    if (regex) {
      steps.emplace_back(ReplaceRegexStep{Regex(text), std::move(content)});
    } else {
      steps.emplace_back(ReplaceStep{std::move(text), std::move(content)});
    }
  } else {
    refuse("normalizer", type);
  }
  return steps;
}

std::vector<DecodeStep> read_decoder(json const& node) {
  std::vector<DecodeStep> steps;
  if (node.is_null()) return steps;
  std::string const type = type_of(node);
  if (type == "Sequence") {
    for (json const& part : node.at("decoders")) {
      for (DecodeStep& step : read_decoder(part)) steps.push_back(std::move(step));
    }
  } else if (type == "ByteLevel") {
    steps.emplace_back(ByteLevelDecode{});
  } else if (type == "Replace") {
    std::string text;
    if (is_regex(node.at("pattern"), text)) refuse("decoder", "Replace with a Regex");
    steps.emplace_back(ReplaceDecode{text, node.at("content").get<std::string>()});
  } else if (type == "ByteFallback") {
    steps.emplace_back(ByteFallbackDecode{});
  } else if (type == "Fuse") {
    steps.emplace_back(FuseDecode{});
  } else if (type == "Strip") {
    steps.emplace_back(
        StripDecode{node.at("content").get<std::string>(), node.at("start").get<int>(), node.at("stop").get<int>()});
  } else if (type == "Metaspace") {
    auto const metaspace = std::get<MetaspaceStep>(read_metaspace(node));
    steps.emplace_back(MetaspaceDecode{metaspace.replacement, metaspace.prepend != Prepend::never});
  } else {
    refuse("decoder", type);
  }
  return steps;
}

namespace {

std::vector<AddedToken> read_added(json const& node) {
  std::vector<AddedToken> tokens;
  for (json const& entry : node) {
    AddedToken token;
    token.content = entry.at("content").get<std::string>();
    token.id = entry.at("id").get<std::int32_t>();
    token.single_word = flag(entry, "single_word", false);
    token.lstrip = flag(entry, "lstrip", false);
    token.rstrip = flag(entry, "rstrip", false);
    token.special = flag(entry, "special", false);
    token.normalized = flag(entry, "normalized", !token.special);
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

void read_model(json const& model, BpeTables& tables) {
  // Files of the library's first versions have no type; a BPE is known by its merges.
  std::string const type = at(model, "type").is_null() && model.contains("merges") ? "BPE" : type_of(model);
  if (type != "BPE") refuse("model", type);
  json const& dropout = at(model, "dropout");
  if (!dropout.is_null() && dropout.get<double>() != 0) refuse("option", "dropout");
  for (char const* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    json const& value = at(model, affix);
    if (!value.is_null() && !value.get<std::string>().empty()) refuse("option", affix);
  }
  if (!at(model, "unk_token").is_null()) tables.unknown_token = model.at("unk_token").get<std::string>();
  tables.fuse_unknown = flag(model, "fuse_unk", false);
  tables.byte_fallback = flag(model, "byte_fallback", false);
  tables.ignore_merges = flag(model, "ignore_merges", false);
  read_vocabulary(model.at("vocab"), tables);
  for (json const& merge : model.at("merges")) {
    if (merge.is_string()) {
      std::string const line = merge.get<std::string>();
      if (line.starts_with("#version")) continue;
      tables.merges.push_back(split_merge(line, tables.merges.size() + 1));
    } else {
      validate(merge.is_array() && merge.size() == 2, "Merge ", tables.merges.size() + 1, " is not two tokens.");
      tables.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    }
  }
}

bool ends_in_byte_level(std::vector<PretokenizeStep> const& steps) {
  return !steps.empty() && std::holds_alternative<ByteLevelStep>(steps.back());
}

}  // namespace

BpeTokenizerParts read_tokenizer_json(std::string const& path) {
  BpeTokenizerParts parts;
  parts.name = "tokenizer " + path;
  std::string const text = read_text_file(path);
  parts.checksum = hash_bytes(std::as_bytes(std::span(text)));
  json const file = parse_json_text(text, path);
  try {
    validate(file.is_object() && file.contains("model"),
             "There is no \"model\" in it (every tokenizer.json has one). Give another file.");
    parts.normalize = read_normalizer(at(file, "normalizer"));
    parts.pretokenize = read_pretokenizer(at(file, "pre_tokenizer"));
    parts.decode = read_decoder(at(file, "decoder"));
    if (!at(file, "added_tokens").is_null()) parts.added = read_added(file.at("added_tokens"));
    parts.tables.byte_level = ends_in_byte_level(parts.pretokenize);
    read_model(file.at("model"), parts.tables);
    read_special_names(path, parts);
    return parts;
  } catch (json::exception const& error) {
    throw Error(concat("Tokenizer '", path, "' cannot be used (", error.what(), "). Download or make it again."));
  } catch (Error const& error) {
    throw Error(concat("Tokenizer '", path, "' cannot be used. ", error.what()));
  }
}

}  // namespace selenite
