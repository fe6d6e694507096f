// SPDX-License-Identifier: Apache-2.0
#include "api/v1/shape.h"

#include <string>
#include <vector>

namespace atl::api {
namespace {

using Is = Shape::Is;

std::string_view TypeName(Is is) {
  switch (is) {
    case Is::kText:
    case Is::kTime:
      return "string";
    case Is::kInteger:
      return "integer";
    case Is::kNumber:
      return "number";
    case Is::kBoolean:
    case Is::kTrue:
      return "boolean";
    case Is::kObject:
    case Is::kMap:
      return "object";
    case Is::kList:
      return "array";
    case Is::kAny:
    case Is::kOneOf:
      return "";
  }
  return "";
}

// Its own, then those of what it is made on.
std::vector<const Member*> MembersOf(const Shape& shape) {
  std::vector<const Member*> members;
  for (const Shape* part = &shape; part != nullptr; part = part->of) {
    for (size_t i = 0; i < part->count; ++i) members.push_back(&part->members[i]);
  }
  return members;
}

bool IsOptional(const Member& member) { return member.name.ends_with('?'); }

std::string_view NameOf(const Member& member) {
  std::string_view name = member.name;
  if (IsOptional(member)) name.remove_suffix(1);
  return name;
}

void WriteType(json::Writer& writer, const Shape& shape) {
  std::string_view type = TypeName(shape.is);
  if (type.empty()) return;
  if (shape.or_null) {
    writer.Key("type").BeginArray().String(type).String("null").EndArray();
  } else {
    writer.Field("type", type);
  }
}

void WriteMembers(json::Writer& writer, const Shape& shape) {
  std::vector<const Member*> members = MembersOf(shape);
  if (members.empty()) return;
  writer.Key("properties").BeginObject();
  for (const Member* member : members) {
    writer.Key(NameOf(*member));
    WriteShape(writer, member->is, member->about);
  }
  writer.EndObject().Key("required").BeginArray();
  for (const Member* member : members) {
    if (!IsOptional(*member)) writer.String(NameOf(*member));
  }
  writer.EndArray();
}

void WriteReference(json::Writer& writer, const Shape& shape) {
  std::string reference = "#/components/schemas/";
  reference += shape.name;
  if (!shape.or_null) {
    writer.Field("$ref", reference);
    return;
  }
  writer.Key("anyOf").BeginArray().BeginObject().Field("$ref", reference).EndObject();
  writer.BeginObject().Field("type", "null").EndObject().EndArray();
}

void WriteBody(json::Writer& writer, const Shape& shape) {
  WriteType(writer, shape);
  if (shape.is == Is::kTime) writer.Field("format", "date-time");
  if (shape.is == Is::kTrue) writer.Field("const", true);
  if (!shape.words.empty()) {
    writer.Key("enum").BeginArray();
    for (std::string_view word : shape.words) writer.String(word);
    if (shape.or_null) writer.Null();
    writer.EndArray();
  }
  if (shape.is == Is::kObject) WriteMembers(writer, shape);
  if (shape.is == Is::kList || shape.is == Is::kMap) {
    writer.Key(shape.is == Is::kList ? "items" : "additionalProperties");
    WriteShape(writer, *shape.of);
  }
  if (shape.is == Is::kOneOf) {
    writer.Key("oneOf").BeginArray();
    for (size_t i = 0; i < shape.count; ++i) WriteShape(writer, *shape.cases[i]);
    writer.EndArray();
  }
}

}  // namespace

void WriteShape(json::Writer& writer, const Shape& shape, std::string_view about) {
  writer.BeginObject();
  if (shape.name.empty()) {
    WriteBody(writer, shape);
  } else {
    WriteReference(writer, shape);
  }
  if (!about.empty()) writer.Field("description", about);
  writer.EndObject();
}

void WriteNamedShape(json::Writer& writer, const Shape& shape) {
  writer.BeginObject();
  WriteBody(writer, shape);
  writer.EndObject();
}

void AddNamedShapes(const Shape& shape, std::map<std::string_view, const Shape*>& named) {
  if (!shape.name.empty() && !named.emplace(shape.name, &shape).second) return;
  if (shape.is == Is::kObject) {
    for (const Member* member : MembersOf(shape)) AddNamedShapes(member->is, named);
  } else if (shape.is == Is::kOneOf) {
    for (size_t i = 0; i < shape.count; ++i) AddNamedShapes(*shape.cases[i], named);
  } else if (shape.of != nullptr) {
    AddNamedShapes(*shape.of, named);
  }
}

}  // namespace atl::api
