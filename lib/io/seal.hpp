#pragma once
#include <filesystem>

namespace selenite {

/// Appends 16 bytes to a file: a mark, and the xxh3 of all before. HDF5 ignores what lies behind its own end.
/// The index needs it: HDF5 1.10 takes the mappings of a virtual dataset apart before it looks at their checksum, and a
/// flipped bit can crash it. So a file is opened by HDF5 only after its seal was found right.
void seal_file(std::filesystem::path const& path);
/// Throws Error if the file has no seal or another one.
void check_seal(std::filesystem::path const& path);

}  // namespace selenite
