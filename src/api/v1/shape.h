// SPDX-License-Identifier: Apache-2.0
// What answers are, as tables beside those of the routes: /v1/openapi.json tells it with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>

#include "json/writer.h"

namespace atl::api {

struct Member;

struct Shape {
  enum class Is : uint8_t {
    kAny,
    kText,
    kTime,  // a text as "2026-01-31T12:00:00.000Z"
    kInteger,
    kNumber,
    kBoolean,
    kTrue,    // a boolean that is true whenever it is there
    kObject,  // without members: any
    kList,
    kMap,  // an object whose names are anything
    kOneOf,
  };

  Is is = Is::kAny;
  bool or_null = false;
  std::string_view name;                    // among the schemas of the description; empty: in place
  std::span<const std::string_view> words;  // of a text that is one of them
  // Of a list or a map: what each is. Of an object: whose members it has as well.
  const Shape* of = nullptr;
  const Member* members = nullptr;
  const Shape* const* cases = nullptr;
  size_t count = 0;  // of members or cases
};

struct Member {
  std::string_view name;  // "name?": it is not always there
  Shape is;
  std::string_view about;
};

inline constexpr Shape kAnything{.is = Shape::Is::kAny};
inline constexpr Shape kText{.is = Shape::Is::kText};
inline constexpr Shape kTime{.is = Shape::Is::kTime};
inline constexpr Shape kInteger{.is = Shape::Is::kInteger};
inline constexpr Shape kNumber{.is = Shape::Is::kNumber};
inline constexpr Shape kBoolean{.is = Shape::Is::kBoolean};
inline constexpr Shape kTrue{.is = Shape::Is::kTrue};
inline constexpr Shape kAnyObject{.is = Shape::Is::kObject};

template <size_t N>
constexpr Shape Words(const std::string_view (&words)[N]) {
  return {.is = Shape::Is::kText, .words = words};
}

template <size_t N>
constexpr Shape ObjectOf(std::string_view name, const Member (&members)[N],
                         const Shape* with = nullptr) {
  return {.is = Shape::Is::kObject, .name = name, .of = with, .members = members, .count = N};
}

// `of` must last as long as the table.
constexpr Shape ListOf(const Shape& of) { return {.is = Shape::Is::kList, .of = &of}; }
constexpr Shape MapOf(const Shape& of) { return {.is = Shape::Is::kMap, .of = &of}; }

template <size_t N>
constexpr Shape OneOf(std::string_view name, const Shape* const (&cases)[N]) {
  return {.is = Shape::Is::kOneOf, .name = name, .cases = cases, .count = N};
}

constexpr Shape OrNull(Shape shape) {
  shape.or_null = true;
  return shape;
}

// The schema of what has a name is a reference to it.
void WriteShape(json::Writer& writer, const Shape& shape, std::string_view about = {});
void WriteNamedShape(json::Writer& writer, const Shape& shape);
// Every shape in `shape` that has a name, itself among them.
void AddNamedShapes(const Shape& shape, std::map<std::string_view, const Shape*>& named);

}  // namespace atl::api
