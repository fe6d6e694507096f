// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "api/v1/route.h"
#include "json/reader.h"
#include "json/utf8.h"

namespace atl::api {
namespace {

constexpr size_t kMostHeaderBytes = 4096;
constexpr std::string_view kIdempotencyKey = "Idempotency-Key";
constexpr size_t kMostKeyBytes = 255;
constexpr std::string_view kBooleans[] = {"true", "false", "1", "0"};

Unexpected Wrong(const Field& field, std::string_view what) {
  return Fail(Code::kInvalidArgument,
              fmt::format("the parameter \"{}\" of the query {}", field.name, what),
              "VALIDATION_FAILED");
}

Result<void> CheckChoice(const Field& field, std::span<const std::string_view> choices,
                         std::string_view value) {
  if (std::ranges::find(choices, value) != choices.end()) return {};
  return Wrong(field, fmt::format("must be one of \"{}\"", fmt::join(choices, "\", \"")));
}

template <typename Number>
bool Parses(std::string_view value, Number& number) {
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  return error == std::errc() && end == value.data() + value.size();
}

std::string Bounds(const Field& field) {
  bool least = field.min != std::numeric_limits<double>::lowest();
  bool most = field.max != std::numeric_limits<double>::max();
  if (least && most) return fmt::format(" from {:.0f} to {:.0f}", field.min, field.max);
  if (least) return fmt::format(" of at least {:.0f}", field.min);
  if (most) return fmt::format(" of at most {:.0f}", field.max);
  return "";
}

Result<void> CheckNumber(const Field& field, std::string_view value) {
  int64_t whole = 0;
  double number = 0;
  bool good = false;
  if (field.kind == Kind::kInteger) {
    good = Parses(value, whole);
    number = static_cast<double>(whole);
  } else {
    good = Parses(value, number);
  }
  // Not a number is in no range.
  if (good && number >= field.min && number <= field.max) return {};
  return Wrong(
      field, fmt::format("must be a {}{}", field.kind == Kind::kInteger ? "whole number" : "number",
                         Bounds(field)));
}

Result<void> CheckTextMap(const Field& field, const std::string& value) {
  Result<json::Object> map = json::Object::Parse(value);
  for (const std::string& name : map ? map->Names() : std::vector<std::string>()) {
    Result<std::optional<std::string>> text = map->OptionalText(name);
    if (!text) map = Unexpected(std::move(text).error());
    if (!map) break;
  }
  if (map) return {};
  return Wrong(field, fmt::format("must be a JSON object of strings: {}", map.error().message));
}

Result<void> CheckValue(const Field& field, const std::string& value) {
  // A name alone says yes; of everything else, nothing says nothing.
  if (value.empty()) return {};
  switch (field.kind) {
    case Kind::kInteger:
    case Kind::kNumber:
      return CheckNumber(field, value);
    case Kind::kBoolean:
      return CheckChoice(field, kBooleans, value);
    case Kind::kTextMap:
      return CheckTextMap(field, value);
    default:
      return field.choices.empty() ? Result<void>() : CheckChoice(field, field.choices, value);
  }
}

Result<void> CheckPair(const Field& field, std::string_view raw) {
  std::optional<std::string> value = http::PercentDecode(raw);
  if (!value || (field.kind != Kind::kPath && !json::IsUtf8(*value))) {
    return Wrong(field, "is not percent-encoded UTF-8 without NUL");
  }
  return CheckValue(field, *value);
}

Result<void> CheckHeader(const Field& field, const std::string& value) {
  std::string_view must;
  std::string bounds;
  int64_t whole = 0;
  if (value.size() > kMostHeaderBytes) {
    must = "must have at most 4096 bytes";
  } else if (!json::IsUtf8(value)) {
    must = "must be UTF-8";
  } else if (field.kind == Kind::kInteger && !value.empty() &&
             (!Parses(value, whole) || static_cast<double>(whole) < field.min)) {
    must = "must be a whole number";
    bounds = Bounds(field);
  }
  if (must.empty()) return {};
  return Fail(Code::kInvalidArgument,
              fmt::format("the header \"{}\" {}{}", field.name, must, bounds), "VALIDATION_FAILED");
}

}  // namespace

Result<void> CheckHeaders(std::span<const Field> fields, const http::Headers& headers) {
  for (const Field& field : fields) TRY(CheckHeader(field, headers.Joined(field.name)));
  return {};
}

Result<std::string> IdempotencyKey(const http::RequestHead& request) {
  if (!request.headers.Has(kIdempotencyKey)) return "";
  std::string key = request.headers.Joined(kIdempotencyKey);
  // One that is empty was forgotten, and would make a sandbox each time.
  if (!key.empty() && key.size() <= kMostKeyBytes) return key;
  return Fail(Code::kInvalidArgument,
              fmt::format("{} must have 1 to {} bytes", kIdempotencyKey, kMostKeyBytes),
              "VALIDATION_FAILED");
}

Result<void> CheckQuery(std::span<const Field> fields, std::string_view query) {
  std::vector<bool> there(fields.size());
  while (!query.empty()) {
    std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    size_t equals = std::min(pair.find('='), pair.size());
    auto field = std::ranges::find(fields, pair.substr(0, equals), &Field::name);
    if (field == fields.end()) continue;
    size_t index = static_cast<size_t>(field - fields.begin());
    if (there[index]) return Wrong(*field, "is there twice");
    there[index] = true;
    TRY(CheckPair(*field, pair.substr(std::min(equals + 1, pair.size()))));
  }
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].required && !there[i]) return Wrong(fields[i], "is missing");
  }
  return {};
}

}  // namespace atl::api
