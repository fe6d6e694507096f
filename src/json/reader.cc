// SPDX-License-Identifier: Apache-2.0
#include "json/reader.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>

namespace atl::json {
namespace {

constexpr std::string_view kValidation = "VALIDATION_FAILED";

Unexpected Wrong(std::string_view name, std::string_view must) {
  return Fail(Code::kInvalidArgument, fmt::format("\"{}\" must be {}", name, must),
              std::string(kValidation));
}

Unexpected Missing(std::string_view name) {
  return Fail(Code::kInvalidArgument, fmt::format("\"{}\" is missing", name),
              std::string(kValidation));
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

Result<std::string> TextOf(std::string_view name, const boost::json::value& value) {
  const boost::json::string* text = value.if_string();
  if (text == nullptr) return Wrong(name, "a string");
  if (text->find('\0') != boost::json::string::npos) {
    return Wrong(name, "a string without NUL characters");
  }
  return std::string(text->data(), text->size());
}

}  // namespace

struct Object::Impl {
  boost::json::object object;

  // nullptr when absent or null.
  const boost::json::value* Find(std::string_view name) const {
    const boost::json::value* value = object.if_contains({name.data(), name.size()});
    return value != nullptr && value->is_null() ? nullptr : value;
  }
};

Result<Object> Object::Parse(std::string_view text, bool empty_ok, Limits limits) {
  if (text.size() > limits.max_bytes) {
    return Fail(Code::kTooLarge, fmt::format("JSON of more than {} bytes", limits.max_bytes),
                "PAYLOAD_TOO_LARGE");
  }
  auto impl = std::make_shared<Impl>();
  if (IsBlank(text)) {
    if (empty_ok) return Object(std::move(impl));
    return Fail(Code::kInvalidArgument, "the body is empty; it must be a JSON object",
                "INVALID_JSON");
  }
  boost::json::parse_options options;
  options.max_depth = limits.max_depth;
  boost::json::error_code error;
  boost::json::value value = boost::json::parse({text.data(), text.size()}, error, {}, options);
  if (error) {
    return Fail(Code::kInvalidArgument, "the body is not valid JSON: " + error.message(),
                "INVALID_JSON");
  }
  if (!value.is_object()) {
    return Fail(Code::kInvalidArgument, "the body must be a JSON object", std::string(kValidation));
  }
  impl->object = std::move(value.get_object());
  return Object(std::move(impl));
}

bool Object::Has(std::string_view name) const { return impl_->Find(name) != nullptr; }

bool Object::IsString(std::string_view name) const {
  const boost::json::value* value = impl_->Find(name);
  return value != nullptr && value->is_string();
}

Result<std::optional<std::string>> Object::OptionalString(std::string_view name) const {
  const boost::json::value* value = impl_->Find(name);
  if (value == nullptr) return std::nullopt;
  const boost::json::string* text = value->if_string();
  if (text == nullptr) return Wrong(name, "a string");
  return std::string(text->data(), text->size());
}

Result<std::string> Object::String(std::string_view name) const {
  ASSIGN(std::optional<std::string> text, OptionalString(name));
  if (!text) return Missing(name);
  return std::move(*text);
}

Result<std::optional<std::string>> Object::OptionalText(std::string_view name) const {
  const boost::json::value* value = impl_->Find(name);
  if (value == nullptr) return std::nullopt;
  ASSIGN(std::string text, TextOf(name, *value));
  return text;
}

Result<std::string> Object::Text(std::string_view name) const {
  ASSIGN(std::optional<std::string> text, OptionalText(name));
  if (!text) return Missing(name);
  return std::move(*text);
}

Result<std::optional<int64_t>> Object::OptionalInt(std::string_view name, IntRange range) const {
  const boost::json::value* value = impl_->Find(name);
  if (value == nullptr) return std::nullopt;
  std::string must = fmt::format("a whole number from {} to {}", range.min, range.max);
  // A number past int64_t is a uint64_t or a double, and out of every range.
  if (!value->is_int64()) return Wrong(name, must);
  int64_t number = value->get_int64();
  if (number < range.min || number > range.max) return Wrong(name, must);
  return number;
}

Result<std::optional<double>> Object::OptionalNumber(std::string_view name, double min,
                                                     double max) const {
  const boost::json::value* value = impl_->Find(name);
  if (value == nullptr) return std::nullopt;
  std::string must = fmt::format("a number from {} to {}", min, max);
  if (!value->is_number()) return Wrong(name, must);
  auto number = value->to_number<double>();
  if (!std::isfinite(number) || number < min || number > max) return Wrong(name, must);
  return number;
}

Result<std::optional<bool>> Object::OptionalBool(std::string_view name) const {
  const boost::json::value* value = impl_->Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) return Wrong(name, "true or false");
  return value->get_bool();
}

Result<StringMap> Object::OptionalTextMap(std::string_view name) const {
  StringMap map;
  const boost::json::value* value = impl_->Find(name);
  if (value == nullptr) return map;
  const boost::json::object* object = value->if_object();
  if (object == nullptr) return Wrong(name, "an object of strings");
  for (const boost::json::key_value_pair& field : *object) {
    std::string key(field.key().data(), field.key().size());
    if (key.find('\0') != std::string::npos) return Wrong(name, "without NUL characters");
    std::string path = fmt::format("{}.{}", name, key);
    ASSIGN(std::string text, TextOf(path, field.value()));
    map.emplace_back(std::move(key), std::move(text));
  }
  return map;
}

Result<std::optional<std::vector<std::string>>> Object::OptionalTextList(
    std::string_view name) const {
  const boost::json::value* value = impl_->Find(name);
  if (value == nullptr) return std::nullopt;
  const boost::json::array* array = value->if_array();
  if (array == nullptr) return Wrong(name, "a list of strings");
  std::vector<std::string> list;
  for (const boost::json::value& item : *array) {
    ASSIGN(std::string text, TextOf(name, item));
    list.push_back(std::move(text));
  }
  return list;
}

Result<std::optional<Object>> Object::OptionalObject(std::string_view name) const {
  const boost::json::value* value = impl_->Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) return Wrong(name, "an object");
  auto impl = std::make_shared<Impl>();
  impl->object = value->get_object();
  return std::optional<Object>(Object(std::move(impl)));
}

std::optional<std::string> Object::OptionalJson(std::string_view name) const {
  const boost::json::value* value = impl_->Find(name);
  if (value == nullptr) return std::nullopt;
  return boost::json::serialize(*value);
}

std::vector<std::string> Object::Names() const {
  std::vector<std::string> names;
  for (const boost::json::key_value_pair& field : impl_->object) {
    names.emplace_back(field.key().data(), field.key().size());
  }
  return names;
}

}  // namespace atl::json
