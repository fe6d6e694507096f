// SPDX-License-Identifier: Apache-2.0
// JSON objects from outside, read field by field. Failures are kInvalidArgument and name the field.
// Fields that nobody asks for are ignored; `null` counts as absent.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace atl::json {

struct Limits {
  size_t max_bytes = 32UL << 20U;
  size_t max_depth = 32;
};

struct IntRange {
  int64_t min = std::numeric_limits<int64_t>::min();
  int64_t max = std::numeric_limits<int64_t>::max();
};

using StringMap = std::vector<std::pair<std::string, std::string>>;

class Object {
 public:
  // INVALID_JSON for what is not JSON, VALIDATION_FAILED for another value than an object. Text of
  // nothing but white space is an empty object when `empty_ok`.
  static Result<Object> Parse(std::string_view text, bool empty_ok = false, Limits limits = {});

  bool Has(std::string_view name) const;
  bool IsString(std::string_view name) const;

  Result<std::string> String(std::string_view name) const;
  Result<std::optional<std::string>> OptionalString(std::string_view name) const;
  // For what becomes a path or an argument of a program: no NUL inside.
  Result<std::string> Text(std::string_view name) const;
  Result<std::optional<std::string>> OptionalText(std::string_view name) const;

  Result<std::optional<int64_t>> OptionalInt(std::string_view name, IntRange range) const;
  Result<std::optional<double>> OptionalNumber(std::string_view name, double min, double max) const;
  Result<std::optional<bool>> OptionalBool(std::string_view name) const;
  // An object of strings without NUL; empty when absent.
  Result<StringMap> OptionalTextMap(std::string_view name) const;
  // An array of strings without NUL; nothing when absent.
  Result<std::optional<std::vector<std::string>>> OptionalTextList(std::string_view name) const;
  Result<std::optional<Object>> OptionalObject(std::string_view name) const;
  // Any value, as JSON text; nothing when absent or null.
  std::optional<std::string> OptionalJson(std::string_view name) const;
  // The names of all fields, those that are null too.
  std::vector<std::string> Names() const;

 private:
  struct Impl;
  explicit Object(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace atl::json
