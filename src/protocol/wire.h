// SPDX-License-Identifier: Apache-2.0
// The binary form of control payloads: little-endian integers, strings and lists with a u32 length.
// Writer and Reader are the two visitors of a message's Fields().
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"

namespace atl::protocol {

// A list longer than this is refused whatever the size of its items.
inline constexpr uint32_t kMaxItems = 16384;

class Writer {
 public:
  Writer() = default;
  // Appends to what is there.
  explicit Writer(std::string begun) : out_(std::move(begun)) {}

  void U8(uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void U32(uint32_t value);
  void U64(uint64_t value);
  void I32(int32_t value) { U32(static_cast<uint32_t>(value)); }
  void String(std::string_view value);

  template <class T>
  void operator()(const T& value);

  std::string Take() && { return std::move(out_); }

 private:
  std::string out_;
};

// Remembers the first failure; what is read after it is zero or empty. `Finish` says whether
// everything was there and nothing is left over.
class Reader {
 public:
  explicit Reader(std::string_view data) : data_(data) {}

  uint8_t U8();
  uint32_t U32();
  uint64_t U64();
  int32_t I32() { return static_cast<int32_t>(U32()); }
  std::string String();
  std::string_view View(size_t size);  // into the data
  bool Bool();

  template <class T>
  void operator()(T& value);

  bool ok() const { return failure_.empty(); }
  std::string_view failure() const { return failure_; }
  // What has not been read.
  std::string_view rest() const { return data_; }
  Result<void> Finish();

 private:
  void SetFailure(std::string_view why);
  bool Need(size_t count);

  std::string_view data_;
  std::string_view failure_;  // points to a literal
};

// Every enum on the wire has an IsKnown beside it; that of atl::Code, which another room owns, is
// here.
inline bool IsKnown(Code code) { return code <= Code::kInternal; }
static_assert(static_cast<int>(Code::kInternal) == 13, "a changed Code needs a new version");

// A struct with `Fields`, which names its members to a visitor in wire order.
template <class T>
concept Composite = requires(T& value, Writer& writer) { value.Fields(writer); };

template <class T>
concept List = requires(T& value) {
  typename T::value_type;
  value.push_back(typename T::value_type{});
} && !std::same_as<T, std::string>;

template <class T>
inline constexpr bool kIsPair = false;
template <class A, class B>
inline constexpr bool kIsPair<std::pair<A, B>> = true;

template <class T>
void Writer::operator()(const T& value) {
  if constexpr (std::same_as<T, std::string>) {
    String(value);
  } else if constexpr (std::is_enum_v<T>) {
    U8(static_cast<uint8_t>(value));
  } else if constexpr (std::same_as<T, bool> || std::same_as<T, uint8_t>) {
    U8(static_cast<uint8_t>(value));
  } else if constexpr (std::same_as<T, uint32_t>) {
    U32(value);
  } else if constexpr (std::same_as<T, int32_t>) {
    I32(value);
  } else if constexpr (std::same_as<T, uint64_t>) {
    U64(value);
  } else if constexpr (kIsPair<T>) {
    (*this)(value.first);
    (*this)(value.second);
  } else if constexpr (List<T>) {
    U32(static_cast<uint32_t>(value.size()));
    for (const auto& item : value) (*this)(item);
  } else {
    static_assert(Composite<const T>);
    value.Fields(*this);
  }
}

template <class T>
void Reader::operator()(T& value) {
  if constexpr (std::same_as<T, std::string>) {
    value = String();
  } else if constexpr (std::is_enum_v<T>) {
    uint8_t raw = U8();
    value = static_cast<T>(raw);
    if (ok() && !IsKnown(value)) SetFailure("unknown enumerator");
  } else if constexpr (std::same_as<T, bool>) {
    value = Bool();
  } else if constexpr (std::same_as<T, uint8_t>) {
    value = U8();
  } else if constexpr (std::same_as<T, uint32_t>) {
    value = U32();
  } else if constexpr (std::same_as<T, int32_t>) {
    value = I32();
  } else if constexpr (std::same_as<T, uint64_t>) {
    value = U64();
  } else if constexpr (kIsPair<T>) {
    (*this)(value.first);
    (*this)(value.second);
  } else if constexpr (List<T>) {
    uint32_t count = U32();
    // Every item takes at least four bytes, so a count that the data cannot hold allocates nothing.
    if (count > kMaxItems || count > data_.size() / 4) SetFailure("a list is too long");
    if (!ok()) return;
    value.reserve(count);
    for (uint32_t i = 0; i < count && ok(); ++i) {
      typename T::value_type item{};
      (*this)(item);
      value.push_back(std::move(item));
    }
  } else {
    static_assert(Composite<T>);
    value.Fields(*this);
  }
}

}  // namespace atl::protocol
