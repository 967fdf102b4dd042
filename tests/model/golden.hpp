#pragma once
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/text.hpp"
#include "model/batch.hpp"

namespace selenite::test {

/// What tests/golden/make_golden.py wrote for one case.
class Golden {
 public:
  struct Values {
    Shape shape;
    std::vector<float> data;
  };
  explicit Golden(std::string const& name) : folder_("tests/golden/" + name) {
    auto const values = read<float>("values.f32");
    tokens_ = read<std::int32_t>("tokens.i32");
    std::ifstream manifest(folder_ + "/manifest.txt");
    for (std::string line; std::getline(manifest, line);) parse(line, values);
    validate(!weights.empty() && losses.size() == 20, folder_, " can't be read (tests run in the source folder).");
  }

  std::vector<std::string> settings;
  std::map<std::string, Values> weights, gradients, finals;
  std::vector<double> losses, norms;
  std::map<std::string, double> single;  ///< how far PyTorch's own fp32 is from its fp64

  /// Samples [first, first + batch.samples) of all steps' samples in a row.
  void fill(std::int64_t first, Batch& b) const {
    for (std::int64_t s = 0; s < b.samples; ++s) {
      auto field = [&](std::int64_t which, std::int64_t i) {
        return tokens_[static_cast<std::size_t>(((first + s) * 5 + which) * b.sequence + i)];
      };
      b.sample_ids.data<std::int64_t>()[s] = first + s;
      for (std::int64_t i = 0; i < b.sequence; ++i) {
        std::int64_t const row = s * b.sequence + i;
        b.tokens.data<std::int32_t>()[row] = field(0, i);
        b.labels.data<std::int32_t>()[row] = field(1, i);
        b.weights.data<std::uint8_t>()[row] = static_cast<std::uint8_t>(field(2, i));
        b.positions.data<std::int32_t>()[row] = field(3, i);
        if (b.document_starts.defined()) b.document_starts.data<std::int32_t>()[row] = field(4, i);
        b.places.data<std::int32_t>()[row] = static_cast<std::int32_t>(i);
        b.token_samples.data<std::int64_t>()[row] = first + s;
      }
    }
  }

 private:
  template <class T>
  std::vector<T> read(std::string const& name) const {
    std::ifstream file(folder_ + "/" + name, std::ios::binary);
    std::string const bytes{std::istreambuf_iterator<char>(file), {}};
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
  }
  void parse(std::string const& line, std::vector<float> const& values) {
    std::istringstream in(line);
    std::string what, word;
    in >> what;
    if (what == "config" || what == "train") {
      while (in >> word) settings.push_back(word);
    } else if (what == "loss" || what == "norm") {
      for (double x; in >> x;) (what == "loss" ? losses : norms).push_back(x);
    } else if (what == "single") {
      in >> word >> single[word];
    } else {
      std::size_t offset = 0;
      std::int64_t rows = 0, cols = 0;
      in >> word >> offset >> rows;
      Shape const shape = in >> cols ? Shape{rows, cols} : Shape{rows};
      auto const first = values.begin() + static_cast<std::ptrdiff_t>(offset);
      auto& group = what == "weight" ? weights : what == "gradient" ? gradients : finals;
      group[word] = {shape, {first, first + shape.count()}};
    }
  }

  std::string folder_;
  std::vector<std::int32_t> tokens_;
};

}  // namespace selenite::test
