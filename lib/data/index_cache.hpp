#pragma once
#include <filesystem>
#include <span>
#include <string>

#include "core/error.hpp"
#include "data/npy.hpp"
#include "data/output_file.hpp"

namespace selenite {

/// Index files that can be made again: a folder in which each set of files is named by a hash of a description of all
/// that determines it. Any number of processes may use it at once: each that finds nothing builds for itself, and the
/// last rename wins with the same bytes; nobody waits for anybody.
class IndexCache {
 public:
  /// `folder` is created when first written to.
  IndexCache(std::filesystem::path folder, std::string description)
      : folder_(std::move(folder)), description_(std::move(description)) {}

  std::filesystem::path file(char const* what) const;

  /// Gives map() if the files are there and whole, else build() (which writes them) and then map() of the new ones.
  template <class Map, class Build>
  auto map_or_build(Map const& map, Build const& build) const {
    // The description is written last: where it is not, another process may be at work, or was killed.
    if (std::filesystem::exists(file("description.txt"))) {
      try {
        return map();
      } catch (Error const&) {
        // Damaged: what can be made again is not worth stopping for.
      }
    }
    create_folder();
    build();
    replace_file(file("description.txt"),
                 [&](OutputFile& output) { output.write(std::as_bytes(std::span(description_))); });
    return map();
  }

 private:
  void create_folder() const;
  std::filesystem::path folder_;
  std::string description_;
};

/// Writes an array as .npy; map_array gives it back, or throws Error if it is damaged or of another shape.
template <class T>
void write_array(std::filesystem::path const& path, std::vector<T> const& values, std::span<std::int64_t const> shape) {
  write_npy(path, npy_type<T>::name, shape, std::as_bytes(std::span(values)));
}

template <class T>
IndexArray<T> map_array(std::filesystem::path const& path, std::vector<std::int64_t> const& shape) {
  NpyFile file(path);
  validate(file.shape() == shape, "'", path.string(),
           "' has another shape than its name says. Delete it; it is made again.");
  return IndexArray<T>(std::move(file));
}

}  // namespace selenite
