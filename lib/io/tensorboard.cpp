#include "io/tensorboard.hpp"

#include <array>
#include <bit>
#include <chrono>
#include <ctime>
#include <unistd.h>

#include "core/error.hpp"
#include "io/record.hpp"

namespace selenite {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1u ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    table[i] = crc;
  }
  return table;
}();

template <class Integer>
void put_fixed(std::string& out, Integer value) {  // little-endian
  for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// The wire types of protocol buffers: 0 varint, 1 fixed 64 bits, 2 bytes with a length, 5 fixed 32 bits.
void put_key(std::string& out, std::uint64_t field, std::uint64_t wire) { put_varint(out, field << 3 | wire); }
void put_bytes(std::string& out, std::uint64_t field, std::string_view bytes) {
  put_key(out, field, 2);
  put_varint(out, bytes.size());
  out += bytes;
}

/// Event: 1 wall_time (double), 2 step (int64); the rest is the caller's.
std::string event(std::int64_t step) {
  double const now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::string out;
  put_key(out, 1, 1);
  put_fixed(out, std::bit_cast<std::uint64_t>(now));
  put_key(out, 2, 0);
  put_varint(out, static_cast<std::uint64_t>(step));
  return out;
}

std::uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

/// TFRecord: length, its checksum, the bytes, their checksum.
std::string frame(std::string const& record) {
  std::string out;
  put_fixed(out, std::uint64_t{record.size()});
  put_fixed(out, masked_crc(out));
  out += record;
  put_fixed(out, masked_crc(record));
  return out;
}

std::filesystem::path event_path(std::filesystem::path const& folder) {
  make_folder(folder);
  return folder / concat("events.out.tfevents.", std::time(nullptr), ".", machine_info().host, ".", ::getpid());
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffu;
  for (char const c : bytes) crc = crc_table[(crc ^ static_cast<unsigned char>(c)) & 0xffu] ^ crc >> 8;
  return ~crc;
}

EventFile::EventFile(std::filesystem::path const& folder, std::int64_t resumed_step)
    : path_(event_path(folder)), file_(path_, OpenFile::Mode::append) {
  std::string first = event(0);
  put_bytes(first, 3, "brain.Event:2");  // Event.file_version
  std::string all = frame(first);
  if (resumed_step >= 0) {
    std::string session = event(resumed_step + 1);   // steps from here on in older files are void
    put_bytes(session, 7, std::string("\x08\x01"));  // Event.session_log: status = START
    all += frame(session);
  }
  file_.write(all);
}

void EventFile::append(std::int64_t step, std::span<Scalar const> scalars) {
  std::string summary;
  for (Scalar const& scalar : scalars) {
    std::string value;
    put_bytes(value, 1, scalar.tag);  // Value.tag
    put_key(value, 2, 5);             // Value.simple_value
    put_fixed(value, std::bit_cast<std::uint32_t>(static_cast<float>(scalar.value)));
    put_bytes(summary, 1, value);
  }
  std::string record = event(step);
  put_bytes(record, 5, summary);  // Event.summary
  file_.write(frame(record));
}

}  // namespace selenite
