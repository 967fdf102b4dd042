#include "data/text_source.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "core/error.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(fs::path const& path, std::string_view why) {
  throw Error(concat("Cannot read '", path.string(), "' (", why, "). Check the file and its permissions."));
}

/// A descriptor open for reading.
class InputFile {
 public:
  explicit InputFile(fs::path path) : path_(std::move(path)), file_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (file_ < 0) fail(path_, std::strerror(errno));
  }
  InputFile(InputFile const&) = delete;
  InputFile& operator=(InputFile const&) = delete;
  ~InputFile() { ::close(file_); }
  std::size_t read(std::span<char> out) {
    std::size_t done = 0;
    while (done < out.size()) {
      ssize_t const got = ::read(file_, out.data() + done, out.size() - done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(path_, std::strerror(errno));
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    position_ += static_cast<std::int64_t>(done);
    return done;
  }
  void seek(std::int64_t to) {
    struct stat facts {};
    if (::fstat(file_, &facts) != 0 || ::lseek(file_, to, SEEK_SET) < 0) fail(path_, std::strerror(errno));
    if (facts.st_size < to) fail(path_, "it has become shorter");
    position_ = to;
  }
  std::int64_t position() const { return position_; }
  fs::path const& path() const { return path_; }

 private:
  fs::path path_;
  int file_;
  std::int64_t position_ = 0;
};

class PlainSource : public TextSource {
 public:
  explicit PlainSource(fs::path const& path) : file_(path) {}
  std::size_t read(std::span<char> out) override { return file_.read(out); }
  void skip(std::int64_t bytes) override {
    if (bytes > 0) file_.seek(file_.position() + bytes);
  }
  std::int64_t file_bytes() const override { return file_.position(); }

 private:
  InputFile file_;
};

class GzipSource : public TextSource {
 public:
  explicit GzipSource(fs::path const& path) : file_(path) {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) fail(path, "zlib has no memory");
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  std::size_t read(std::span<char> out) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    while (stream_.avail_out > 0) {
      if (stream_.avail_in == 0) {
        stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
        stream_.avail_in = static_cast<uInt>(file_.read(input_));
        if (stream_.avail_in == 0) {
          if (inside_) fail(file_.path(), "the compressed data ends too early");
          break;
        }
      }
      inside_ = true;
      int const result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        inside_ = false;
        inflateReset(&stream_);  // another member may follow
      } else if (result != Z_OK) {
        fail(file_.path(), stream_.msg ? stream_.msg : "the compressed data is corrupt");
      }
    }
    return out.size() - stream_.avail_out;
  }
  std::int64_t file_bytes() const override { return file_.position(); }

 private:
  InputFile file_;
  z_stream stream_{};
  std::vector<char> input_ = std::vector<char>(256 * 1024);
  bool inside_ = false;
};

class ZstdSource : public TextSource {
 public:
  explicit ZstdSource(fs::path const& path) : file_(path), stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {
    if (!stream_) fail(path, "zstd has no memory");
    ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, 31);  // files made with --long
  }
  std::size_t read(std::span<char> out) override {
    ZSTD_outBuffer text{out.data(), out.size(), 0};
    while (text.pos < text.size) {
      if (data_.pos == data_.size) {
        data_ = {input_.data(), file_.read(input_), 0};
        if (data_.size == 0) {
          if (inside_) fail(file_.path(), "the compressed data ends too early");
          break;
        }
      }
      std::size_t const result = ZSTD_decompressStream(stream_.get(), &text, &data_);
      if (ZSTD_isError(result)) fail(file_.path(), ZSTD_getErrorName(result));
      inside_ = result != 0;
    }
    return text.pos;
  }
  std::int64_t file_bytes() const override { return file_.position(); }

 private:
  InputFile file_;
  std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream_;
  std::vector<char> input_ = std::vector<char>(256 * 1024);
  ZSTD_inBuffer data_{nullptr, 0, 0};
  bool inside_ = false;
};

enum class Compression : std::uint8_t { none, gzip, zstd };

/// How a file is compressed, by its first bytes or by its name. Throws Error for what cannot be decompressed here: its
/// bytes would pass for text.
Compression compression_of(fs::path const& path) {
  std::string head(10, '\0');
  head.resize(InputFile(path).read(head));
  auto const refuse = [&](bool found, char const* kind) {
    validate(!found, "'", path.string(), "' cannot be read (it is compressed by ", kind,
             "; gzip and zstd are known). Decompress it first.");
  };
  refuse(head.starts_with("\3757zXZ"), "xz");
  refuse(head.starts_with("BZh") && head.ends_with("1AY&SY"), "bzip2");
  refuse(head.starts_with("PK\3\4"), "zip");
  refuse(head.starts_with("\x04\x22\x4d\x18"), "lz4");
  if (extension_of(path) == ".gz" || head.starts_with("\x1f\x8b")) return Compression::gzip;
  if (extension_of(path) == ".zst" || head.starts_with("\x28\xb5\x2f\xfd")) return Compression::zstd;
  return Compression::none;
}

}  // namespace

std::unique_ptr<TextSource> TextSource::open(fs::path const& path) {
  switch (compression_of(path)) {
    case Compression::gzip:
      return std::make_unique<GzipSource>(path);
    case Compression::zstd:
      return std::make_unique<ZstdSource>(path);
    case Compression::none:
      break;
  }
  return std::make_unique<PlainSource>(path);
}

void TextSource::skip(std::int64_t bytes) {
  std::vector<char> sink(256 * 1024);
  while (bytes > 0) {
    auto const want = static_cast<std::size_t>(std::min<std::int64_t>(bytes, static_cast<std::int64_t>(sink.size())));
    std::size_t const got = read(std::span(sink).first(want));
    validate(got == want, "An input has become shorter than it was when the run began. Start again with --restart.");
    bytes -= static_cast<std::int64_t>(got);
  }
}

std::vector<fs::path> expand_inputs(std::vector<std::string> const& patterns) {
  std::vector<fs::path> files;
  for (std::string const& pattern : patterns) {
    if (fs::exists(pattern)) {
      files.emplace_back(pattern);
      continue;
    }
    glob_t found{};
    int const result = ::glob(pattern.c_str(), 0, nullptr, &found);
    std::unique_ptr<glob_t, decltype(&globfree)> const owner(&found, &globfree);
    validate(result == 0 && found.gl_pathc > 0, "No input matches '", pattern,
             "' (there is no such file). Check the path.");
    files.insert(files.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  for (fs::path const& file : files) {
    validate(!fs::is_directory(file), "'", file.string(), "' is a folder. Name its files, for example '", file.string(),
             "/*.jsonl'.");
    validate(fs::is_regular_file(file), "'", file.string(),
             "' is a pipe or a device (its size must be known, and a run that goes on reads it again). Use a file.");
    compression_of(file);  // so that one of many is not found after hours
  }
  return files;
}

std::string extension_of(fs::path const& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return extension;
}

fs::path uncompressed_name(fs::path const& path) {
  std::string const extension = extension_of(path);
  return extension == ".gz" || extension == ".zst" ? fs::path(path).replace_extension() : path;
}

}  // namespace selenite
