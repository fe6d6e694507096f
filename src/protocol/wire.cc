// SPDX-License-Identifier: Apache-2.0
#include "protocol/wire.h"

#include <array>

namespace atl::protocol {

namespace {

template <class T>
void Append(std::string* out, T value) {
  std::array<char, sizeof(T)> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  out->append(bytes.data(), bytes.size());
}

}  // namespace

void Writer::U32(uint32_t value) { Append(&out_, value); }

void Writer::U64(uint64_t value) { Append(&out_, value); }

void Writer::String(std::string_view value) {
  U32(static_cast<uint32_t>(value.size()));
  out_.append(value);
}

void Reader::SetFailure(std::string_view why) {
  if (failure_.empty()) failure_ = why;
}

bool Reader::Need(size_t count) {
  if (!ok()) return false;
  if (data_.size() < count) {
    SetFailure("the payload is truncated");
    return false;
  }
  return true;
}

uint8_t Reader::U8() {
  if (!Need(1)) return 0;
  auto value = static_cast<uint8_t>(data_.front());
  data_.remove_prefix(1);
  return value;
}

uint32_t Reader::U32() {
  if (!Need(4)) return 0;
  uint32_t value = 0;
  for (unsigned i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<uint8_t>(data_[i])) << (8 * i);
  }
  data_.remove_prefix(4);
  return value;
}

uint64_t Reader::U64() {
  uint64_t low = U32();
  uint64_t high = U32();
  return low | (high << 32U);
}

std::string Reader::String() {
  uint32_t size = U32();
  if (!Need(size)) return {};
  std::string value(data_.substr(0, size));
  data_.remove_prefix(size);
  return value;
}

std::string_view Reader::View(size_t size) {
  if (!Need(size)) return {};
  std::string_view value = data_.substr(0, size);
  data_.remove_prefix(size);
  return value;
}

bool Reader::Bool() {
  uint8_t value = U8();
  if (value > 1) SetFailure("a boolean is neither 0 nor 1");
  return value == 1;
}

Result<void> Reader::Finish() {
  if (ok() && !data_.empty()) SetFailure("bytes follow the last field");
  if (ok()) return {};
  return Fail(Code::kInvalidArgument, "malformed message: " + std::string(failure_));
}

}  // namespace atl::protocol
