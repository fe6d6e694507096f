// SPDX-License-Identifier: Apache-2.0
// Appends JSON to a string, field by field, with no tree in between.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace atl::json {

// `text` as a JSON string, quotes included, to the end of `out`. Bytes that are not UTF-8 become
// U+FFFD.
void AppendString(std::string& out, std::string_view text);
// The same for text that is known to be UTF-8.
void AppendUtf8String(std::string& out, std::string_view text);
// `bytes` in base64 (RFC 4648, padded), without quotes.
void AppendBase64(std::string& out, std::string_view bytes);

// Commas come by themselves; who calls keeps begin and end in balance.
class Writer {
 public:
  Writer& BeginObject() { return Open('{'); }
  Writer& EndObject() { return Close('}'); }
  Writer& BeginArray() { return Open('['); }
  Writer& EndArray() { return Close(']'); }
  Writer& Key(std::string_view name);
  Writer& String(std::string_view text);
  Writer& Bool(bool value) { return Raw(value ? "true" : "false"); }
  Writer& Null() { return Raw("null"); }
  Writer& Int(int64_t value) { return Raw(std::to_string(value)); }
  Writer& Uint(uint64_t value) { return Raw(std::to_string(value)); }
  // The shortest text that reads back as the same number; null for what is not finite.
  Writer& Number(double value);
  // JSON text as it is.
  Writer& Raw(std::string_view json);

  Writer& Field(std::string_view name, std::string_view value) { return Key(name).String(value); }
  Writer& Field(std::string_view name, const char* value) { return Key(name).String(value); }
  Writer& Field(std::string_view name, std::same_as<bool> auto value) {
    return Key(name).Bool(value);
  }
  Writer& Field(std::string_view name, std::signed_integral auto value) {
    return Key(name).Int(value);
  }
  Writer& Field(std::string_view name, std::unsigned_integral auto value)
    requires(!std::same_as<decltype(value), bool>)
  {
    return Key(name).Uint(value);
  }
  Writer& Field(std::string_view name, double value) { return Key(name).Number(value); }

  std::string Take() { return std::move(out_); }

 private:
  Writer& Open(char bracket);
  Writer& Close(char bracket);
  void Separate();

  std::string out_;
  bool comma_ = false;  // a value stands before this place
};

}  // namespace atl::json
